"""Information-theoretic distillation: features correlate with those of the teacher, number by number. arXiv:2112.00459

A second part asks that pairs of images share what they share for the teacher.

f_s is the student's vector through a trained linear layer to the teacher's width d.

    correlation  f_s and f_t standardised over the micro-batch (unbiased deviation), c_d = sum over n of f_s f_t / N;
                 log2 of the sum over d of |c_d - 1|^(2 alpha)
    mutual       unit vectors, G_s = f_s f_s^T, G_st = G_s times G_t, number by number, each over its trace;
                 sum over N^2 of G_s^2 - G_st^2
    loss         correlation weight x correlation + mutual weight x mutual

Formula and the weights 2 and 1 with alpha 1.5 are those of the official code as github.com/zkxufo/TTM keeps it
(from github.com/roymiles/ITRD), on pooled vectors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import About, Paper
from ssld.losses.functions import root, unit
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Factor, Positive, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Itrd(BatchLoss, TapLoss):
    """correlation log2 sum over d of |c_d - 1|^(2 alpha) + mutual sum over N^2 of (G_s^2 - G_st^2).

    correlation, mutual: weights of the two parts. student, teacher: names of taps; a map is one long vector. One number
    for the micro-batch of a rank.
    """

    correlation: Factor = 2.0
    mutual: Factor = 1.0
    alpha: Positive = 1.5
    student: Text = "embedding"
    teacher: Text = "embedding"

    paper: ClassVar = Paper("Information Theoretic Representation Distillation", 2021, "2112.00459")
    golden: ClassVar = "itrd"
    ledger: ClassVar = ("ITRD", "WTTM+ITRD")
    use: ClassVar = (
        "Pooled vectors and one linear layer: about as cheap as plain distillation, and without a memory of negatives."
    )
    traps: ClassVar = (
        "The value is a logarithm: it can be negative, and its size says nothing about the gap.",
        "Deviations are of a micro-batch of one rank; small ones make them noise.",
    )
    cost: ClassVar = "A linear layer, and products of all pairs of images."

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.correlation or self.mutual):
            raise RecipeError("correlation: correlation and mutual are both 0; give one of them a number above 0")

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.embed import Embed, width

        return Embed(about.student[self.student], width(about.teacher[self.teacher]))

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        f_s, f_t = helpers(student[self.student]), teacher[self.teacher].flatten(1)
        total = 0.0
        if self.correlation:
            correlated = (_standardised(f_s) * _standardised(f_t)).mean(axis=0)
            total = total + self.correlation * ((correlated - 1).square() ** self.alpha).sum().log2()
        if self.mutual:
            g_s, g_t = _alike(f_s), _alike(f_t)
            g_st = g_s * g_t
            gap = _of_trace_1(g_s).square() - _of_trace_1(g_st).square()
            total = total + self.mutual * gap.sum()
        return total


def _standardised(f: Tensor) -> Tensor:
    centred = f - f.mean(axis=0, keepdim=True)
    return centred / root(centred.square().sum(axis=0, keepdim=True) / (f.shape[0] - 1))


def _alike(f: Tensor) -> Tensor:
    rows = unit(f)
    return rows @ rows.T


def _of_trace_1(g: Tensor) -> Tensor:
    return g / g.trace().clip(min=1e-12)
