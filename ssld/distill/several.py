"""Let several teachers label a batch beside a student, and combine their logits into those of one teacher."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ssld.config.teachers import Combine
from ssld.interfaces import FIRST_VIEW, Batch, Labeller, Outputs, Precision
from ssld.losses.base import Shape
from ssld.losses.views import named


class Together:
    """Put the outputs of several labellers beside the same batches.

    A batch gets the combined `logits` under `teacher`, of each view that the teachers see; its `each` has the outputs
    of every teacher by its name.
    """

    gives = frozenset({"logits"})

    def __init__(self, parts: Mapping[str, Labeller], combine: Combine):
        self.parts, self.combine = dict(parts), combine

    @property
    def engine(self) -> str:
        """Return the names of the engines that compute the outputs, in the order of the teachers."""
        return ", ".join(part.engine for part in self.parts.values())

    def shapes(self, names: Collection[str], size: int) -> dict[str, Shape]:
        """Return the shape of the combined outputs without the batch. Only logits are combined."""
        labeller = next(iter(self.parts.values()))
        return labeller.shapes({"logits"} & set(names), size)

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, Shape]]:
        """Map the name of each teacher to the shapes of its outputs."""
        return {name: part.shapes(names, size) for name, part in self.parts.items()}

    def read(self, names: Collection[str]) -> None:
        """Let every teacher compute the outputs of these names."""
        for part in self.parts.values():
            part.read(names)

    def labelled(self, batches: Iterable[Batch], precision: Precision = nullcontext) -> Iterator[Batch]:
        """Yield each batch with the outputs of all teachers for its images. The outputs carry no gradient."""
        labelled: Iterator[tuple[Batch, dict[str, Outputs]]] = ((batch, {}) for batch in batches)
        for name, part in self.parts.items():
            labelled = _with(labelled, name, part, precision)
        for batch, outputs_by_teacher in labelled:
            views = (FIRST_VIEW, *batch.get("views", ()))
            with paddle.no_grad():
                outputs = {
                    logits: combined({name: some[logits] for name, some in outputs_by_teacher.items()}, self.combine)
                    for logits in (named(view, "logits") for view in views)
                    if all(logits in some for some in outputs_by_teacher.values())
                }
            yield {**batch, "teacher": Outputs(outputs, each=outputs_by_teacher)}


def _with(
    labelled: Iterator[tuple[Batch, dict[str, Outputs]]],
    name: str,
    labeller: Labeller,
    precision: Precision,
) -> Iterator[tuple[Batch, dict[str, Outputs]]]:
    """Yield the same batches with the outputs of one more teacher.

    A labeller may take several batches in advance, and it gives them back in order.
    """
    waiting: list[dict[str, Outputs]] = []

    def batches() -> Iterator[Batch]:
        for batch, outputs_by_teacher in labelled:
            waiting.append(outputs_by_teacher)
            yield batch

    for batch in labeller.labelled(batches(), precision):
        outputs = batch["teacher"]
        unlabelled: Batch = {key: value for key, value in batch.items() if key != "teacher"}  # type: ignore[assignment]
        yield unlabelled, {**waiting.pop(0), name: outputs}


def combined(logits: Mapping[str, Tensor], combine: Combine) -> Tensor:
    """Combine the logits of all teachers and return float32 [N, classes].

    For a mean of probabilities, the result is the logarithm of that mean, so that its softmax is the mean.
    """
    weights = [combine.weights.get(name, 1.0) if combine.weights else 1.0 for name in logits]
    shares = [weight / sum(weights) for weight in weights]
    values = [tensor.astype("float32") for tensor in logits.values()]
    if combine.mean == "logits":
        return sum(share * value for share, value in zip(shares, values, strict=True))
    terms = [F.log_softmax(value, axis=-1) + _log(share) for share, value in zip(shares, values, strict=True)]
    return paddle.logsumexp(paddle.stack(terms), axis=0)


def _log(share: float) -> float:
    """Return the logarithm of a share. For a share of 0 it is finite, and so low that the probability becomes 0."""
    return math.log(share) if share else -1e30
