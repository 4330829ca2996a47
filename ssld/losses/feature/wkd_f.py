"""Wasserstein distance of features: mean and deviation of each channel, as of two normal distributions.
arXiv:2412.08139

The student's map through a projector is compared with the teacher's in each cell of a grid. With the mean m_c and the
deviation d_c of channel c over the pixels of a cell:

    loss = mean over the cells of (a sum over c of (m_s - m_t)^2 + b sum over c of (d_s - d_t)^2)

The deviation divides by the number of pixels less one, and 1e-5 is added to the variance. Formula and constants are
those of the official code (github.com/JiamingLv/WKD), WKD-F. On ImageNet: a 4 x 4 grid, a = 2, b = 1, a projector of
three convolutions with 256 channels inside; weight 0.02 (ResNet18), 0.005 (MobileNetV1). On CIFAR-100: a 1 x 1 grid,
a = 4, the regressor of the loss `hint`; weight 0.08, which falls to 0 by a cosine from epoch 150 on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss, mean_and_deviation
from ssld.spec.ranges import Count, Factor

if TYPE_CHECKING:
    from paddle import nn

EPSILON = 1e-5  # added to a variance
INNER = 256  # channels inside the projector


@dataclass(frozen=True)
class WkdF(TapLoss):
    """Squared gaps of the means and of the deviations of each channel in the cells of a grid.

    mean, deviation: a and b. grid: cells of a side. projector: "bottleneck", three convolutions that keep the size of
    the map, or "regressor", one that brings it to the teacher's.
    """

    mean: Factor = 2.0
    deviation: Factor = 1.0
    grid: Count = 4
    projector: Literal["bottleneck", "regressor"] = "bottleneck"

    paper: ClassVar = Paper(
        "Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation", 2024, "2412.08139"
    )
    golden: ClassVar = "wkd"
    ledger: ClassVar = ("WKD-F", "WKD-L+WKD-F")
    use: ClassVar = (
        "The last maps of two networks, compared by mean and deviation of each channel instead of pixel by pixel."
    )
    traps: ClassVar = (
        "It is a sum over the channels, with weights from 0.005 to 0.08 for each pair, which fall to 0 in the "
        "course of the training.",
        "The published rows that are highest have `wkd_l` beside it.",
        "In a cell of one pixel the deviation is 0 for both networks: a map needs more pixels than the grid has cells.",
    )
    cost: ClassVar = (
        "Three convolutions, of which one is 3x3, and mean and deviation of each channel in each cell of the grid."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.mean or self.deviation):
            raise RecipeError("mean: mean and deviation are both 0; give one of them a number above 0")

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.regressor import Bottleneck, Regressor, side

        own, other = about.student[self.student], about.teacher[self.teacher]
        return (
            Regressor(own, other) if self.projector == "regressor" else Bottleneck(side(own)[0], INNER, side(other)[0])
        )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        mean_s, deviation_s = mean_and_deviation(helpers(student[self.student]), self.grid, EPSILON)
        mean_t, deviation_t = mean_and_deviation(teacher[self.teacher], self.grid, EPSILON)
        gap = self.mean * (mean_s - mean_t).square() + self.deviation * (deviation_s - deviation_t).square()
        return gap.sum(axis=1).mean(axis=-1)
