"""Several teachers beside a student: each labels the batch, and together they speak as one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ssld.config.teachers import Combine
from ssld.interfaces import Batch, Labeller, Outputs
from ssld.losses.base import Shape


class Together:
    """Each of several labellers on the same batches.

    A batch gets under `teacher` the combined `logits`, and in its `each` the outputs of every teacher by its name.
    """

    gives = frozenset({"logits"})

    def __init__(self, parts: Mapping[str, Labeller], combine: Combine):
        self.parts, self.combine = dict(parts), combine

    @property
    def engine(self) -> str:
        """What computes them, in their order."""
        return ", ".join(part.engine for part in self.parts.values())

    def shapes(self, names: Collection[str], size: int) -> dict[str, Shape]:
        """The shape of the combined outputs, without the batch; the logits alone are combined."""
        first = next(iter(self.parts.values()))
        return first.shapes({"logits"} & set(names), size)

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, Shape]]:
        """Name of a teacher -> the shapes of its outputs."""
        return {name: part.shapes(names, size) for name, part in self.parts.items()}

    def labelled(
        self, batches: Iterable[Batch], precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> Iterator[Batch]:
        """Each batch with the outputs of all teachers for its images, without a gradient."""
        apart: Iterator[tuple[Batch, dict[str, Outputs]]] = ((batch, {}) for batch in batches)
        for name, part in self.parts.items():
            apart = _with(apart, name, part, precision)
        for batch, each in apart:
            with paddle.no_grad():
                logits = combined({name: outputs["logits"] for name, outputs in each.items()}, self.combine)
            yield {**batch, "teacher": Outputs({"logits": logits}, each=each)}


def _with(
    apart: Iterator[tuple[Batch, dict[str, Outputs]]],
    name: str,
    part: Labeller,
    precision: Callable[[], AbstractContextManager[Any]],
) -> Iterator[tuple[Batch, dict[str, Outputs]]]:
    """The same batches with the outputs of one more teacher. A labeller may take several batches in advance, and it
    gives them back in order.
    """
    waiting: list[dict[str, Outputs]] = []

    def batches() -> Iterator[Batch]:
        for batch, each in apart:
            waiting.append(each)
            yield batch

    for batch in part.labelled(batches(), precision):
        outputs = batch["teacher"]
        kept: Batch = {key: value for key, value in batch.items() if key != "teacher"}  # type: ignore[assignment]
        yield kept, {**waiting.pop(0), name: outputs}


def combined(logits: Mapping[str, Tensor], combine: Combine) -> Tensor:
    """The logits of all teachers together, float32 [N, classes], from the logits of each.

    Of the mean of probabilities they are its logarithm, so that their softmax is the mean.
    """
    weights = [combine.weights.get(name, 1.0) if combine.weights else 1.0 for name in logits]
    shares = [weight / sum(weights) for weight in weights]
    values = [tensor.astype("float32") for tensor in logits.values()]
    if combine.mean == "logits":
        return sum(share * value for share, value in zip(shares, values, strict=True))
    terms = [F.log_softmax(value, axis=-1) + _log(share) for share, value in zip(shares, values, strict=True)]
    return paddle.logsumexp(paddle.stack(terms), axis=0)


def _log(share: float) -> float:
    """The logarithm of a share; that of 0 is low enough for a probability of 0, and finite."""
    import math

    return math.log(share) if share else -1e30
