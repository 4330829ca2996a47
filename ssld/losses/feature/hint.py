"""Hints of FitNets: a feature map of the student, through a trained layer, becomes that of the teacher. arXiv:1412.6550

The form of the common benchmark (github.com/HobbitLong/RepDistiller, github.com/megvii-research/mdistiller): one
training instead of the two stages of the paper, the regressor is a convolution that brings the map to the teacher's
size, batch norm and ReLU, the loss is the mean squared gap over all numbers of the map, and its weight is 100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Hint(TapLoss):
    """Mean over C H W of (regressor(F_s) - F_t)^2.

    student, teacher: names of taps that give maps [N, C, H, W].
    """

    student: Text = "stage3"
    teacher: Text = "stage3"

    paper: ClassVar = Paper("FitNets: Hints for Thin Deep Nets", 2014, "1412.6550")
    golden: ClassVar = "fitnet"
    ledger: ClassVar = ("FitNet",)
    use: ClassVar = "Where the maps of a middle stage are worth imitating number by number, such as in one family."
    traps: ClassVar = (
        "The paper trains the hint first and the rest afterwards; the common benchmark, and this, do both at once.",
        "Its weight is 100: the value is a mean over all numbers of a map.",
    )
    cost: ClassVar = "A convolution of the student's map makes all channels of the teacher's."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.regressor import Regressor

        return Regressor(about.student[self.student], about.teacher[self.teacher])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        return (helpers(student[self.student]) - teacher[self.teacher]).square().mean(axis=[1, 2, 3])
