"""Attention transfer: the student looks where the teacher looks. arXiv:1612.03928

The attention map of a feature map F [N, C, H, W] is A(F) = unit(mean over C of F^2), with the length taken over H W.
The loss is the sum over the pairs of maps of the mean over H W of (A_s - A_t)^2. Of two maps of different sizes the
larger one is averaged before the square. This is the form of the common benchmark (github.com/HobbitLong/RepDistiller,
github.com/megvii-research/ mdistiller), with weight 1000; the paper divides a length by two instead of a mean of
squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.functions import match, unit
from ssld.losses.lazy import Tensor


@dataclass(frozen=True)
class At(Loss):
    """Sum over pairs of maps of the mean squared gap of their attention.

    student, teacher: names of taps, one pair after the other; without `teacher` they are those of the student.
    """

    student: tuple[str, ...] = ("stage1", "stage2", "stage3")
    teacher: tuple[str, ...] | None = None

    paper: ClassVar = Paper(
        "Paying More Attention to Attention: Improving the Performance of Convolutional Neural Networks via Attention "
        "Transfer",
        2016,
        "1612.03928",
    )
    golden: ClassVar = "at"
    ledger: ClassVar = ("AT",)
    use: ClassVar = "Maps of any channels are compared without a trained layer: a cheap term for the early stages."
    traps: ClassVar = (
        "Maps are averaged to one size before the square, not after it.",
        "The paper divides a length by two; the mean of squares of the common benchmark has the weight 1000.",
    )

    def __post_init__(self) -> None:
        if not self.student or len(self.student) != len(self._teacher):
            given = f"{len(self._teacher)} taps of the teacher for {len(self.student)} of the student"
            raise RecipeError(f"teacher: {given}; give one for each, and at least one")

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student=self.student, teacher=self._teacher)

    @property
    def _teacher(self) -> tuple[str, ...]:
        return self.student if self.teacher is None else self.teacher

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        total = 0.0
        for own, other in zip(self.student, self._teacher, strict=True):
            a, b = match(student[own], teacher[other])
            total = total + (_attention(a) - _attention(b)).square().mean(axis=1)
        return total


def _attention(features: Tensor) -> Tensor:
    """[N, C, H, W] -> [N, H W]"""
    return unit(features.square().mean(axis=1).flatten(1))
