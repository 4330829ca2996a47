"""Probabilistic knowledge transfer: who is near whom, as probabilities. arXiv:1803.10837

For the vectors f of a micro-batch, c_ij = f_i . f_j / ((|f_i| + 1e-7) (|f_j| + 1e-7)) and p_ij = (1 + c_ij) / 2, each
row divided by its sum. The loss is the mean over the N^2 pairs of p_t ln((p_t + 1e-7) / (p_s + 1e-7)): not the sum over
a row, so that it is N times smaller than a KL divergence. Formula, constants and the weight 30000 are those of the
official code, which the common benchmark (github.com/HobbitLong/RepDistiller, github.com/megvii-research/mdistiller)
took over for pooled vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import Paper
from ssld.losses.functions import root
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn

EPSILON = 1e-7


@dataclass(frozen=True)
class Pkt(BatchLoss, TapLoss):
    """Mean over N^2 of p_t ln(p_t / p_s), p the row-normalised (1 + cosine) / 2 of pairs of images.

    student, teacher: names of taps; a map is one long vector. One number for the micro-batch of a rank.
    """

    student: Text = "embedding"
    teacher: Text = "embedding"

    paper: ClassVar = Paper("Learning Deep Representations with Probabilistic Knowledge Transfer", 2018, "1803.10837")
    golden: ClassVar = "pkt"
    ledger: ClassVar = ("PKT",)
    use: ClassVar = (
        "The cheapest of the relations: N^2 cosines of pooled vectors, no trained layer, any two widths. It serves "
        "where there are no labels too."
    )
    traps: ClassVar = (
        "The value is a mean over N^2 and tiny: the usual weight is 30000.",
        "It compares the images of one micro-batch of one rank; `accumulate` and ranks change its value.",
    )
    cost: ClassVar = "Products of all pairs of images."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        p_s, p_t = _neighbours(student[self.student]), _neighbours(teacher[self.teacher])
        return (p_t * ((p_t + EPSILON) / (p_s + EPSILON)).log()).mean()


def _neighbours(features: Tensor) -> Tensor:
    """Return the probabilities of the neighbours of each image, [N, ...] -> [N, N], rows that sum to 1."""
    rows = features.flatten(1)
    rows = rows / (root(rows.square().sum(axis=1, keepdim=True)) + EPSILON)
    near = (rows @ rows.T + 1) / 2
    return near / near.sum(axis=1, keepdim=True)
