"""The types that the parts of ssld hand to each other. Nothing here imports PaddlePaddle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from paddle import Tensor


class Outputs(dict[str, "Tensor"]):
    """What one network says of one batch: `logits`, float [N, classes], and the taps that were asked for, by name.

    each: where several teachers speak apart, the outputs of every one of them, by its name in the recipe.
    weights: the weights that a loss may read (`classifier.weight` [d, classes], `classifier.bias` [classes],
    `stage3.norm.weight` and `.bias` [C]), by name; those of a teacher are constants, those of a student carry a
    gradient.
    """

    def __init__(
        self,
        values: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = (),
        each: Mapping[str, Outputs] | None = None,
        weights: Mapping[str, Tensor] | None = None,
    ):
        super().__init__(values)
        self.each: Mapping[str, Outputs] = each or {}
        self.weights: Mapping[str, Tensor] = weights or {}


class Batch(TypedDict, total=False):
    """A micro-batch of one rank, N images. Which keys it has depends on where it stands on its way to a loss.

    A loader gives `image`, `label` and `index`; mixing adds `label_b` and `lam`; a loader of fixed views adds `view`
    and `place`; a labeller adds `teacher`; the training loop adds `step` and `epoch`, and where networks train together
    `peers`, the outputs of the others by their names.
    """

    image: Tensor  # float32 [N, 3, S, S], normalised
    label: Tensor  # int64 [N], -1 where an image has none
    index: Tensor  # int64 [N], the place of each image among all training images
    label_b: Tensor  # int64 [N], the label of the image that was mixed in
    lam: float  # the share of the first image in a mixture
    view: int  # the number of the view that a label cache knows the batch by
    place: NDArray[np.int64]  # int64 [N], where the images stand in that view
    teacher: Outputs
    peers: Mapping[str, Outputs]  # with a gradient
    step: int  # of the stage, from 0
    epoch: int  # of the stage, from 1


class Loader(Protocol):
    """Training batches of one rank, see `data.Loader`."""

    steps_per_epoch: int

    def batches(self, start_step: int, stop_step: int) -> Iterator[Batch]: ...


class Evaluator(Protocol):
    """Images with labels, each of them once, see `data.EvalLoader`."""

    images: int

    def batches(self) -> Iterator[Batch]: ...


class Labeller(Protocol):
    """Whoever puts a teacher's outputs beside a batch.

    engine: what computes them, for the record. gives: the names of the outputs that it can give. shapes: of each of
    these outputs, without the batch, for images of the student of `size` pixels a side. shapes_of_each: the same of
    every teacher by its name, where several teachers speak apart; {} where there is one.
    """

    @property
    def engine(self) -> str: ...

    @property
    def gives(self) -> frozenset[str]: ...

    def shapes(self, names: Collection[str], size: int) -> dict[str, tuple[int, ...]]: ...

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, tuple[int, ...]]]: ...

    def labelled(
        self, batches: Iterable[Batch], precision: Callable[[], AbstractContextManager[Any]]
    ) -> Iterator[Batch]: ...


class Recorder(Protocol):
    """Whoever keeps the numbers of a stage, see `track.Track`."""

    def log(self, record: dict[str, Any]) -> None: ...

    def rewind(self, stage: str, step: int) -> None: ...
