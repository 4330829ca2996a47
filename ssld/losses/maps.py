"""Work on feature maps and pooled vectors, and define losses that compare a student's tap with a teacher's tap."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from ssld.errors import RecipeError
from ssld.losses.base import Loss, Reads, Shape
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.stages import AFTER, in_pairs, instead_of, stages_of, taps_of
from ssld.spec.ranges import Text

FOUR = ("stage1", "stage2", "stage3", "stage4")
FOUR_BEFORE = tuple(f"{stage}.pre" for stage in FOUR)


def pooled(features: Tensor) -> Tensor:
    """Return the vectors [N, d] of maps [N, d, H, W], each the mean over its pixels; vectors stay as they are."""
    return features.mean(axis=[2, 3]) if features.ndim == 4 else features


def as_map(features: Tensor) -> Tensor:
    """Return vectors [N, d] as maps of one pixel, [N, d, 1, 1]; maps stay as they are."""
    return features.unsqueeze([2, 3]) if features.ndim == 2 else features


def standardised(x: Tensor, axis: int, epsilon: float) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) along an axis; the variance divides by the number of values.

    It is what a batch norm (axis 0) or a layer norm (axis -1) computes before its scale and shift.
    """
    centred = x - x.mean(axis=axis, keepdim=True)
    return centred / (centred.square().mean(axis=axis, keepdim=True) + epsilon).sqrt()


def mean_and_deviation(maps: Tensor, grid: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each channel in the cells of a grid, both [N, C, cells].

    maps: [N, C, H, W]. The grid has `grid` x `grid` cells, whose bounds are those of adaptive average pooling. The
    variance divides by the number of pixels less one, and `epsilon` is added to it under the root; it is 0 in a cell of
    one pixel.
    """
    means, deviations = [], []
    for rows in _cells(maps.shape[2], grid):
        for columns in _cells(maps.shape[3], grid):
            cell = maps[:, :, rows, columns].flatten(2)
            mean = cell.mean(axis=-1, keepdim=True)
            variance = (cell - mean).square().sum(axis=-1, keepdim=True) / max(cell.shape[-1] - 1, 1)
            means.append(mean)
            deviations.append((variance + epsilon).sqrt())
    return paddle.concat(means, axis=-1), paddle.concat(deviations, axis=-1)


def _cells(size: int, grid: int) -> list[slice[int, int]]:
    return [slice(n * size // grid, math.ceil((n + 1) * size / grid)) for n in range(grid)]


@dataclass(frozen=True)
class TapLoss(Loss):
    """Compare one tap of the student with one of the teacher. A subclass says which by default."""

    student: Text = "map"
    teacher: Text = "map"

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={self.student}, teacher={self.teacher})


@dataclass(frozen=True)
class PairsLoss(Loss):
    """Compare taps in pairs: the first of the student with the first of the teacher, and so on.

    student, teacher: names of taps. Without both they are stages of the two networks that belong together, see
    `fitted`; without `teacher` alone they have the names of the student's, and without `student` alone the student's
    stages are those that belong to the teacher's taps.
    """

    student: tuple[Text, ...] | None = instead_of(FOUR)
    teacher: tuple[Text, ...] | None = None

    paired: ClassVar[bool] = True
    """Whether there must be one tap of the teacher for each of the student; else each is compared with each."""
    kinds: ClassVar[tuple[str, str]] = (AFTER, AFTER)
    """They say where a stage of the student, and of the teacher, is caught: AFTER or BEFORE its last activation."""
    first: ClassVar[int | None] = None
    """How many pairs of stages are taken, the shallow ones first; None takes all."""
    also: ClassVar[tuple[str, ...]] = ()
    """Taps that come after those of the stages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student is None or self._teacher_is_open:
            return
        own, others = len(self.student), len(self.teacher_taps)
        if self.paired and (not own or own != others):
            counts = f"{others} taps of the teacher for {own} of the student"
            raise RecipeError(f"teacher: {counts}; give one for each, and at least one")
        if not own or not others:
            raise RecipeError(f"teacher: {own} taps of the student and {others} of the teacher; give one at least")

    @property
    def _teacher_is_open(self) -> bool:
        return self.teacher is None and (self.student is None or self.kinds[0] != self.kinds[1])

    @property
    def student_taps(self) -> tuple[str, ...]:
        return (self.kinds[0], *self.also) if self.student is None else self.student

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        if self.teacher is None:
            return (self.kinds[1], *self.also) if self._teacher_is_open else self.student_taps
        return self.teacher

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student=self.student_taps, teacher=self.teacher_taps)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return (tap of the student, tap of the teacher) of each pair."""
        return list(zip(self.student_taps, self.teacher_taps, strict=True))

    def fitted(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> PairsLoss:
        is_open = self.student is None, self._teacher_is_open
        if not any(is_open):
            return self
        stages = stages_of("student", student, self.student), stages_of("teacher", teacher, self.teacher)
        own, others = in_pairs(*stages) if self.paired else ([*stages[0]], [*stages[1]])
        count = self.first if all(is_open) else None
        return replace(
            self,
            student=(*taps_of(self.kinds[0], own[:count], student), *self.also) if is_open[0] else self.student,
            teacher=(*taps_of(self.kinds[1], others[:count], teacher), *self.also) if is_open[1] else self.teacher,
        )
