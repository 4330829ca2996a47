"""Attention transfer: the student looks where the teacher looks. arXiv:1612.03928

The attention map of a feature map F [N, C, H, W] is A(F) = unit(mean over C of F^2), with the length taken over H W.
The loss is the sum over the pairs of maps of the mean over H W of (A_s - A_t)^2. Of two maps of different sizes the
larger one is averaged before the square. This is the form of the common benchmark (github.com/HobbitLong/RepDistiller,
github.com/megvii-research/ mdistiller), with weight 1000; the paper divides a length by two instead of a mean of
squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Paper
from ssld.losses.functions import match, unit
from ssld.losses.lazy import Tensor
from ssld.losses.maps import FOUR, PairsLoss
from ssld.losses.stages import instead_of
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class At(PairsLoss):
    """Sum over pairs of taps of the mean squared gap of their attention.

    student, teacher: names of taps that give maps, see `PairsLoss`; without them the first three pairs of stages.
    """

    student: tuple[Text, ...] | None = instead_of(FOUR[:3])

    first: ClassVar = 3

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
        "The code of the common benchmark takes every stage of its networks, mostly three; of networks with more the "
        "default leaves out those after the third pair.",
    )
    cost: ClassVar = "The squares of all numbers of the maps are averaged, those of the large early ones as well."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        total = 0.0
        for own, other in self.pairs:
            a, b = match(student[own], teacher[other])
            total = total + (_attention(a) - _attention(b)).square().mean(axis=1)
        return total


def _attention(features: Tensor) -> Tensor:
    """Return the attention of a map: [N, C, H, W] -> [N, H W]."""
    return unit(features.square().mean(axis=1).flatten(1))
