"""Define the types that the parts of ssld hand to each other. Nothing here imports PaddlePaddle."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from paddle import Tensor

Parameter: TypeAlias = "Tensor"
"""A tensor that a layer of Paddle has by a name, and that an optimiser may change."""
Precision: TypeAlias = "Callable[[], AbstractContextManager[object]]"
"""This function returns the context of a forward pass, in which mixed precision is on or off."""
Record: TypeAlias = "Mapping[str, str | int | float]"
"""A record is what a training logs at one time: `kind`, `stage`, `step`, `epoch`, `images`, and numbers."""


FIRST_VIEW = ""
"""The name of the first view of a stage, whose images are `image` of a batch and whose outputs have no prefix."""


class Outputs(dict[str, "Tensor"]):
    """Hold the outputs of one network for one batch: `logits`, float [N, classes], and the taps by name.

    Where a stage has further views of its images, the outputs of the view `strong` are `strong.logits` and so on.

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
    and `place`, one of a stage with further views `views`, and `rotation` where one of them turns the images; a
    labeller adds `teacher`. The training loop adds `step` and `epoch` and, where networks train together, `peers`: the
    outputs of the others by their names.
    """

    image: Tensor  # float32 [N, 3, S, S], normalised
    label: Tensor  # int64 [N], -1 where an image has none
    index: Tensor  # int64 [N], the place of each image among all training images
    label_b: Tensor  # int64 [N], the label of the image that was mixed in
    lam: float  # the share of the first image in a mixture
    view: int  # the number of the view that a label cache knows the batch by
    place: NDArray[np.int64]  # int64 [N], the places of the images in that view
    views: Mapping[str, Tensor]  # the same images in the further views by name, [N, ...], or [4N, ...] of rotations
    rotation: Tensor  # int64 [4N], the quarter turns, 0 to 3, of each row of the view of rotations
    teacher: Outputs
    peers: Mapping[str, Outputs]  # these outputs carry a gradient
    step: int  # the step of the stage, from 0
    epoch: int  # the epoch of the stage, from 1


class Curve(TypedDict):
    """Tell the records of a stage from others: their number, and the sha256 of what they say."""

    records: int
    sha256: str


class Scores(TypedDict):
    """Hold what an evaluation says: top-1 and top-5 in percent, and the mean cross entropy in nats."""

    top1: float
    top5: float
    loss: float


class ScoresOfPeers(TypedDict, total=False):
    """Hold the scores of the networks that a stage trains beside the one that it hands on, by name."""

    peers: Mapping[str, Scores]


class EveryScore(Scores, ScoresOfPeers):
    """Hold the scores of every network that a stage trains; `peers` is there only where several train together."""


class StageScores(EveryScore):
    """Hold what a finished training says: the scores at its end, and what it took."""

    epochs: float
    steps: int
    images: int
    seconds: float


def images_of(batch: Batch, view: str) -> Tensor:
    """Return the images of a batch in one of its views, float32 [rows, 3, S, S]."""
    return batch["image"] if view == FIRST_VIEW else batch["views"][view]


class Loader(Protocol):
    """Load the training batches of one rank, see `data.Loader`."""

    steps_per_epoch: int

    def batches(self, start_step: int, stop_step: int) -> Iterator[Batch]: ...

    def read_so_far(self) -> str: ...


class Evaluator(Protocol):
    """Load images with labels, each of them once, see `data.EvalLoader`."""

    images: int

    def batches(self) -> Iterator[Batch]: ...


class Labeller(Protocol):
    """Put a teacher's outputs beside a batch.

    `engine` says, for the record, what computes them. `gives` has the names of the outputs that it can give. `shapes`
    returns the shape of each of these outputs, without the batch, for images of the student of `size` pixels a side.
    `shapes_of_each` returns the same for every teacher by its name, or {} where there is only one. `read` says which
    outputs the losses read, where that shows when the networks are made.
    """

    @property
    def engine(self) -> str: ...

    @property
    def gives(self) -> frozenset[str]: ...

    def shapes(self, names: Collection[str], size: int) -> dict[str, tuple[int, ...]]: ...

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, tuple[int, ...]]]: ...

    def read(self, names: Collection[str]) -> None: ...

    def labelled(self, batches: Iterable[Batch], precision: Precision) -> Iterator[Batch]: ...


class Recorder(Protocol):
    """Keep the numbers of a stage, see `track.Track`."""

    def log(self, record: Record) -> None: ...

    def rewind(self, stage: str, step: int, evaluated: bool = True, curve: Curve | None = None) -> None: ...

    def curve(self, stage: str) -> Curve | None: ...
