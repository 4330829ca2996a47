"""Projector ensemble feature distillation: several projections of the student's vector are averaged. arXiv:2210.15274

Each of q projectors is a linear layer and ReLU, from the student's vector f_s to the width of the teacher's f_t:

    p    = mean over the projectors of relu(W_i f_s + b_i)
    loss = 1 - cosine of p and f_t

Formula and constants are those of the official code (github.com/chenyd7/PEFD): q is 3, and the weight is 25 beside a
cross entropy. That code has no guard in the lengths; here a length counts as 1e-12 at least, so that a vector of zeros
gives no NaN. PaddleClas computes the same; its vectors are maps that are averaged (`flatten: false`, where the tap is
a map) or flattened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import unit
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss, pooled
from ssld.spec.ranges import Count, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Pefd(TapLoss):
    """1 - the cosine of the averaged projections of the student's vector and the teacher's.

    projectors: how many. flatten: whether taps that are maps are flattened; else they are averaged over their pixels.
    """

    student: Text = "embedding"
    teacher: Text = "embedding"
    projectors: Count = 3
    flatten: bool = False

    paper: ClassVar = Paper("Improved Feature Distillation via Projector Ensemble", 2022, "2210.15274")
    golden: ClassVar = "pefd"
    ledger: ClassVar = ("PEFD",)
    use: ClassVar = (
        "Pooled vectors of any two widths, at the cost of three linear layers: one of the cheapest losses of features."
    )
    traps: ClassVar = (
        "The official code has no guard in its lengths: a projection that is 0 everywhere gives NaN there, and "
        "no gradient here.",
        "Projections are never negative, so the teacher's vector should be one after a ReLU.",
        "Its weight is 25.",
    )
    cost: ClassVar = "Three linear layers from the student's vector to the teacher's."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.pefd import Projectors

        shapes = about.student[self.student], about.teacher[self.teacher]
        return Projectors(*shapes, self.projectors, self.flatten)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, other = self._vectors(student[self.student]), self._vectors(teacher[self.teacher])
        return 1 - (unit(helpers(own)) * unit(other)).sum(axis=1)

    def _vectors(self, features: Tensor) -> Tensor:
        return features.flatten(1) if self.flatten else pooled(features)
