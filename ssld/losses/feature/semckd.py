"""Cross-layer distillation with semantic calibration: attention says which of the teacher's maps a map learns from.
arXiv:2012.03236

Every tap i of the student is compared with every tap j of the teacher. Row n of the matrix F F^T [N, N] of the
flattened maps of a micro-batch says how image n relates to the others; a network of two linear layers makes a vector
of length 1 of it, a query q of a student's tap and a key k of a teacher's:

    a_ij = softmax over j of q_i . k_j / temperature
    gap  = mean over C H W of (P_ij(F_s,i) - F_t,j)^2, the larger map averaged first, P_ij three convolutions
    loss = mean over i of the sum over j of a_ij gap_ij

The layers that read rows have as many inputs as a micro-batch of a rank has images: the number of ranks and the size of
a micro-batch change the method. Formulas and constants are those of the official code
(github.com/DefangChen/SemCKD and SimKD): weight 400, temperature 1. Its networks of rows hold a second branch that
nothing reads; here there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import Tensor
from ssld.losses.maps import PairsLoss
from ssld.spec.ranges import Count, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Semckd(PairsLoss):
    """Mean over the student's taps of the gaps to the teacher's taps, weighed by attention.

    student, teacher: taps, not in pairs; without `teacher` they are those of the student. reduction: how many times
    fewer numbers a query has than a micro-batch has images.
    """

    temperature: Positive = 1.0
    reduction: Count = 4

    paired: ClassVar[bool] = False
    paper: ClassVar = Paper("Cross-Layer Distillation with Semantic Calibration", 2020, "2012.03236")
    golden: ClassVar = "semckd"
    ledger: ClassVar = ("SemCKD",)
    use: ClassVar = "Networks whose stages do not correspond, on a batch of fixed size."
    traps: ClassVar = (
        "Layers are as wide as a micro-batch of a rank: another batch, `accumulate` or number of ranks is "
        "another method, and a checkpoint does not fit it.",
        "Every pair of taps has three convolutions of its own.",
        "Its weight is 400.",
    )
    cost: ClassVar = (
        "Each map of the student passes through three convolutions of its own for each map of the teacher, one of "
        "them 3x3 with twice the teacher's channels."
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.semckd import Calibration

        own, other = (
            [about.student[tap] for tap in self.student_taps],
            [about.teacher[tap] for tap in self.teacher_taps],
        )
        return Calibration(own, other, about.micro, max(1, about.micro // self.reduction))

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, others = [student[tap] for tap in self.student_taps], [teacher[tap] for tap in self.teacher_taps]
        attention = helpers.attention(own, others, self.temperature)
        return (attention * helpers.gaps(own, others)).sum(axis=[1, 2]) / len(own)
