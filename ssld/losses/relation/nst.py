"""Neuron selectivity transfer: the places that the channels of student and teacher answer to are spread alike.
arXiv:1707.01219

Each channel of a map is divided by its length over H W: a [C_s, H W] of the student, b [C_t, H W] of the teacher, of an
image. The loss is the squared maximum mean discrepancy of the two sets of channels under the kernel (x . y)^2:

    mean over c, c' of (a_c . a_c')^2 + mean of (b_c . b_c')^2 - 2 mean of (a_c . b_c')^2

summed over pairs of maps. Of two maps of different sizes the larger one is averaged first. That is the same number as
the squared gap between a^T a / C_s and b^T b / C_t [H W, H W], which is what is computed where a map has fewer places
than channels. Kernel, means and the weight 50 are those of the common benchmark (github.com/HobbitLong/RepDistiller,
github.com/megvii-research/mdistiller), which takes every stage after its activation; the part of the teacher alone has
no gradient and stays in the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Paper
from ssld.losses.functions import match, unit
from ssld.losses.lazy import Tensor
from ssld.losses.maps import PairsLoss

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Nst(PairsLoss):
    """Sum over pairs of maps of MMD^2 of their channels, each of unit length over H W, kernel (x . y)^2.

    student, teacher: names of taps that give maps, one pair after the other; without `teacher` they are those of the
    student.
    """

    paper: ClassVar = Paper("Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", 2017, "1707.01219")
    golden: ClassVar = "nst"
    ledger: ClassVar = ("NST",)
    use: ClassVar = (
        "Whole maps of any two numbers of channels are compared image by image, without a trained layer, where "
        "attention (`at`) keeps only one number for each place."
    )
    traps: ClassVar = (
        "Every pair of channels of an image is compared: in wide networks with large maps it is the slowest loss "
        "without layers. Leave out early stages first.",
    )
    cost: ClassVar = "Products of all pairs of channels, or of all pairs of places, of each map of both networks."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        total = 0.0
        for own, other in self.pairs:
            a, b = (unit(features.flatten(2)) for features in match(student[own], teacher[other]))
            total = total + _discrepancy(a, b)
        return total


def _discrepancy(a: Tensor, b: Tensor) -> Tensor:
    """Return the discrepancy of each image, [N, C_s, P], [N, C_t, P] -> [N]."""
    if a.shape[2] < max(a.shape[1], b.shape[1]):
        return (_by_place(a) - _by_place(b)).square().sum(axis=[1, 2])
    return _kernel(a, a) + _kernel(b, b) - 2 * _kernel(a, b)


def _by_place(a: Tensor) -> Tensor:
    return a.transpose([0, 2, 1]) @ a / a.shape[1]


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.transpose([0, 2, 1])).square().mean(axis=[1, 2])
