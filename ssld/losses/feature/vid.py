"""Variational information distillation: the student's map predicts the teacher's as a Gaussian. arXiv:1904.05835

For each pair of maps three 1x1 convolutions with ReLU between them make the mean mu of the prediction out of F_s, and
each channel c of the teacher has one trained number a_c, from which comes its variance:

    v_c  = softplus(a_c) + 1e-5
    loss = mean over C H W of ((mu - F_t)^2 / v + ln v) / 2, summed over the pairs

a_c starts where v_c is 5. Of two maps of different sizes the larger one is averaged. Formula and constants are those of
github.com/HobbitLong/RepDistiller, whose weight is 1. In github.com/megvii-research/mdistiller the variances are not
registered as parameters, and so never change; here they are trained, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import match
from ssld.losses.lazy import Tensor
from ssld.losses.maps import PairsLoss
from ssld.spec.ranges import Range

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Vid(PairsLoss):
    """Sum over pairs of taps of half the mean negative log-likelihood of the teacher's map, without its constant.

    variance: the v that training starts with.
    """

    variance: Annotated[float, Range(above=1e-4, most=1_000_000)] = 5.0

    paper: ClassVar = Paper("Variational Information Distillation for Knowledge Transfer", 2019, "1904.05835")
    golden: ClassVar = "vid"
    ledger: ClassVar = ("VID",)
    use: ClassVar = (
        "Maps in which some channels matter and others are noise: trained variances say which ones the student "
        "may miss."
    )
    traps: ClassVar = (
        "In one benchmark the variances are not registered as parameters and never change: there the loss is a "
        "mean squared gap, and its numbers are of that.",
        "Three convolutions as wide as the teacher belong to each pair of taps.",
        "The value can be negative.",
    )
    cost: ClassVar = (
        "Three 1x1 convolutions for each pair of maps, two of them from and to all channels of the teacher."
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.vid import Predictions

        return Predictions([(about.student[a], about.teacher[b]) for a, b in self.pairs], self.variance)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        total = 0.0
        for predict, (own, other) in zip(helpers, self.pairs, strict=True):
            source, target = match(student[own], teacher[other])
            mean, variance = predict(source)
            total = total + 0.5 * ((mean - target).square() / variance + variance.log()).mean(axis=[1, 2, 3])
        return total
