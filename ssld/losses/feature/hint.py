"""Hints of FitNets: a feature map of the student, through a trained layer, becomes that of the teacher. arXiv:1412.6550

The form of the common benchmark (github.com/HobbitLong/RepDistiller, github.com/megvii-research/mdistiller): one
training instead of the two stages of the paper, the regressor is a convolution that brings the map to the teacher's
size, batch norm and ReLU, the loss is the mean squared gap over all numbers of the map, and its weight is 100. There
the hint is `stage2`, which in its residual networks of three stages is the last but one, as here in every network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Loss, Paper, Reads, Shape
from ssld.losses.lazy import Tensor
from ssld.losses.stages import AFTER, in_pairs, instead_of, stages_of, taps_of
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Hint(Loss):
    """Mean over C H W of (regressor(F_s) - F_t)^2.

    student, teacher: names of taps that give maps [N, C, H, W]; without both they are the last stages but one, without
    one of them the stage that belongs to the other.
    """

    student: Text | None = instead_of("stage3")
    teacher: Text | None = instead_of("stage3")

    paper: ClassVar = Paper("FitNets: Hints for Thin Deep Nets", 2014, "1412.6550")
    golden: ClassVar = "fitnet"
    ledger: ClassVar = ("FitNet",)
    use: ClassVar = "Where the maps of a middle stage are worth imitating number by number, such as in one family."
    traps: ClassVar = (
        "The paper trains the hint first and the rest afterwards; the common benchmark, and this, do both at once.",
        "Its weight is 100: the value is a mean over all numbers of a map.",
    )
    cost: ClassVar = "A convolution of the student's map makes all channels of the teacher's."

    @property
    def taps(self) -> tuple[str, str]:
        """Return the tap of the student and that of the teacher."""
        return self.student or AFTER, self.teacher or AFTER

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        own, other = self.taps
        return Reads(student={own}, teacher={other})

    def fitted(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> Hint:
        given = [None if tap is None else (tap,) for tap in (self.student, self.teacher)]
        if None not in given:
            return self
        own, others = in_pairs(stages_of("student", student, given[0]), stages_of("teacher", teacher, given[1]))
        (tap,), (other,) = taps_of(AFTER, own[-2:][:1], student), taps_of(AFTER, others[-2:][:1], teacher)
        return replace(self, student=self.student or tap, teacher=self.teacher or other)

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.regressor import Regressor

        own, other = self.taps
        return Regressor(about.student[own], about.teacher[other])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, other = self.taps
        return (helpers(student[own]) - teacher[other]).square().mean(axis=[1, 2, 3])
