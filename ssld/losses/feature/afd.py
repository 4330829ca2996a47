"""Attention-based feature distillation: each map of the teacher finds the maps of the student that suit it.
arXiv:2102.02973

For every tap i of the student and j of the teacher (all are compared with all):

    key k_i     BN(linear(F_s,i averaged over its pixels)), ReLU; then a linear layer and BN to one key for each j
    query q_j   BN(linear(F_t,j averaged over its pixels))
    a_ij        softmax over i of (k_ij . q_j + p_j . p_i) / sqrt(width)
    v           unit over the pixels of the mean over C of F^2; the student's mean is averaged to the teacher's size
    loss        sum over j, sum over i, a_ij times the mean over the pixels of (v_s,i - v_t,j)^2

p are trained vectors of each tap. Formulas and constants are those of the official code
(github.com/clovaai/attention-feature-distillation): weight 200 beside KD; PaddleClas takes 50.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import unit
from ssld.losses.lazy import F, Tensor, paddle
from ssld.losses.maps import PairsLoss
from ssld.spec.ranges import Count

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Afd(PairsLoss):
    """Sum over the teacher's taps of the gap to the student's taps, weighed by attention.

    student, teacher: taps, not in pairs; without `teacher` they are those of the student. width: of keys and queries.
    """

    width: Count = 128

    paired: ClassVar[bool] = False
    paper: ClassVar = Paper(
        "Show, Attend and Distill: Knowledge Distillation via Attention-Based Feature Matching", 2021, "2102.02973"
    )
    golden: ClassVar = "afd"
    ledger: ClassVar = ("AFD",)
    use: ClassVar = (
        "Networks whose stages do not correspond: attention says which maps of the student belong to which of "
        "the teacher."
    )
    traps: ClassVar = (
        "Maps are averaged after the square, where `at` averages before it.",
        "Every tap is compared with every other one, so its cost grows with the product of their numbers.",
        "Weights differ by a factor of four: 200 beside plain distillation in the official code, 50 in PaddleClas.",
    )
    cost: ClassVar = "Each map of the student is compared with each map of the teacher, at the size of the latter."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.afd import Attention

        widths = (
            [about.student[tap][0] for tap in self.student_taps],
            [about.teacher[tap][0] for tap in self.teacher_taps],
        )
        return Attention(*widths, self.width)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, others = [student[tap] for tap in self.student_taps], [teacher[tap] for tap in self.teacher_taps]
        attention = helpers(own, others)
        energy = [features.square().mean(axis=1, keepdim=True) for features in own]
        values: dict[tuple[int, ...], Tensor] = {}  # of the student, at each size that the teacher has
        total = 0.0
        for number, target in enumerate(others):
            size = tuple(target.shape[2:])
            if size not in values:
                values[size] = paddle.stack([_value(F.adaptive_avg_pool2d(x, size)) for x in energy], axis=1)
            gap = (values[size] - _value(target.square().mean(axis=1)).unsqueeze(1)).square().mean(axis=-1)
            total = total + (attention[:, number] * gap).sum(axis=1)
        return total


def _value(energy: Tensor) -> Tensor:
    """Flatten [N, 1, H, W] or [N, H, W] to [N, H W]."""
    return unit(energy.flatten(1))
