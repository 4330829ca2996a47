"""Define the types that the parts of ssld hand to each other. Nothing here imports PaddlePaddle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from paddle import Tensor


class Outputs(dict[str, "Tensor"]):
    """Hold the outputs of one network for one batch: `logits`, float [N, classes], and the taps by name.

    `each` has, where a loss reads several teachers one by one, the outputs of every teacher by its name in the recipe.
    `weights` has the weights that a loss may read, by name: `classifier.weight` [d, classes], `classifier.bias`
    [classes], `stage3.norm.weight` and `.bias` [C]. The weights of a teacher are constants; those of a student carry a
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
    """Hold a micro-batch of N images of one rank. Its keys depend on how far it is on its way to a loss.

    A loader gives `image`, `label` and `index`; mixing adds `label_b` and `lam`; a loader of fixed views adds `view`
    and `place`; a labeller adds `teacher`. The training loop adds `step` and `epoch` and, where networks train
    together, `peers`: the outputs of the others by their names.
    """

    image: Tensor  # float32 [N, 3, S, S], normalised
    label: Tensor  # int64 [N], -1 where an image has none
    index: Tensor  # int64 [N], the place of each image among all training images
    label_b: Tensor  # int64 [N], the label of the image that was mixed in
    lam: float  # the share of the first image in a mixture
    view: int  # the number of the view that a label cache knows the batch by
    place: NDArray[np.int64]  # int64 [N], the places of the images in that view
    teacher: Outputs
    peers: Mapping[str, Outputs]  # these outputs carry a gradient
    step: int  # the step of the stage, from 0
    epoch: int  # the epoch of the stage, from 1


class Loader(Protocol):
    """Load the training batches of one rank, see `data.Loader`."""

    steps_per_epoch: int

    def batches(self, start_step: int, stop_step: int) -> Iterator[Batch]: ...


class Evaluator(Protocol):
    """Load images with labels, each of them once, see `data.EvalLoader`."""

    images: int

    def batches(self) -> Iterator[Batch]: ...


class Labeller(Protocol):
    """Put a teacher's outputs beside a batch.

    `engine` says, for the record, what computes them. `gives` has the names of the outputs that it can give. `shapes`
    returns the shape of each of these outputs, without the batch, for images of the student of `size` pixels a side.
    `shapes_of_each` returns the same for every teacher by its name, or {} where there is only one.
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
    """Keep the numbers of a stage, see `track.Track`."""

    def log(self, record: dict[str, Any]) -> None: ...

    def rewind(self, stage: str, step: int, curve: Mapping[str, Any] | None = None) -> None: ...

    def curve(self, stage: str) -> dict[str, Any] | None: ...
