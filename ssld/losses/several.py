"""Read the logits of several networks: of teachers, each by itself, and of networks that train beside the student."""

from __future__ import annotations

from collections.abc import Mapping

from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs
from ssld.losses.lazy import Tensor


def of_teachers(teacher: Outputs) -> list[Tensor]:
    """Return the logits of each teacher, [N, classes], in the order of the recipe.

    It raises RunError unless there are two or more.
    """
    if len(teacher.each) < 2:
        what = f"a loss compares several teachers, and this stage has {len(teacher.each)} to be read apart"
        raise RunError(f"teachers: {what}; give two or more, or use the loss kl")
    return [outputs["logits"] for outputs in teacher.each.values()]


def of_peers(batch: Batch, like: Tensor) -> list[Tensor]:
    """Return the logits of each network that trains beside the student, [N, classes], with gradient, in `like`'s type.

    It raises RunError where the student trains alone.
    """
    return [peer["logits"].astype(like.dtype) for peer in peers_of(batch).values()]


def peers_of(batch: Batch) -> Mapping[str, Outputs]:
    """Return the outputs of each network that trains beside the student, by name, with gradient.

    It raises RunError where the student trains alone.
    """
    if not batch.get("peers"):
        what = "a loss compares networks that train together, and this stage trains one alone"
        raise RunError(f"peers: {what}; drop this loss, or learn from a teacher with the loss kl")
    return batch["peers"]
