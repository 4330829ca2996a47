"""Similarity-preserving distillation: images that are alike for the teacher are alike for the student. arXiv:1907.09682

Each row of F is the feature map of an image as one vector [C H W]. G = F F^T [N, N] has the inner products of all pairs
of images of a micro-batch, and each of its rows is divided by its length (1e-12 at least). The loss is the mean over
the N^2 pairs of (G_s - G_t)^2.

This is the formula of the paper and of the official code; the common benchmark (github.com/HobbitLong/RepDistiller,
github.com/megvii-research/mdistiller) takes the last map after its activation and the weight 3000.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import Paper
from ssld.losses.functions import unit
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Sp(BatchLoss, TapLoss):
    """Mean over N^2 of (unit rows of F_s F_s^T - unit rows of F_t F_t^T)^2.

    student, teacher: names of taps, maps or vectors. One number for the micro-batch of a rank.
    """

    paper: ClassVar = Paper("Similarity-Preserving Knowledge Distillation", 2019, "1907.09682")
    golden: ClassVar = "sp"
    ledger: ClassVar = ("SP",)
    use: ClassVar = (
        "The maps of student and teacher may have any channels and sizes, and no layer is trained: a cheap first term "
        "beside the cross entropy for networks that share nothing."
    )
    traps: ClassVar = (
        "It compares the images of one micro-batch of one rank, so its value changes with the batch, with `accumulate` "
        "and with the number of ranks.",
        "Its value is a mean over N^2 of small numbers: the usual weight is 3000, for batches of 64.",
    )
    cost: ClassVar = "Products of all pairs of images, each as long as a whole map."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        return (_similarity(student[self.student]) - _similarity(teacher[self.teacher])).square().mean()


def _similarity(features: Tensor) -> Tensor:
    """Return the similarity of every pair of images, [N, ...] -> [N, N]."""
    rows = features.flatten(1)
    return unit(rows @ rows.T)
