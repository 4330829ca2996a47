"""Transformed teacher matching, TTM and WTTM: only the teacher is softened. arXiv:2402.11148

With P the teacher's probabilities to the power gamma, divided by their sum U, and p_s the softmax of the student:

    TTM   KL(P || p_s)
    WTTM  U KL(P || p_s)

U is large where the teacher is unsure. There is no temperature for the student and no factor T^2. P is the softmax of
gamma z_t: TTM is distillation with the teacher at temperature 1 / gamma and the student at 1. The official code
(github.com/zkxufo/TTM) has gamma from 0.1 to 0.4 and a weight for each pair, such as 45 for VGG13 -> VGG8 on CIFAR-100,
beside a cross entropy of weight 1; no value of gamma is a default there, and here it is 0.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.functions import divergence, log_softmax, log_sum_exp
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ttm(Loss):
    """KL(P || p_s), times U where it is `weighted`."""

    gamma: Positive = 0.4
    weighted: bool = False

    reads: ClassVar = Reads(teacher={"logits"})
    every_class: ClassVar = True
    paper: ClassVar = Paper("Knowledge Distillation Based on Transformed Teacher Matching", 2024, "2402.11148")
    golden: ClassVar = "ttm"
    ledger: ClassVar = ("TTM", "WTTM", "WTTM+CRD", "WTTM+ITRD", "WTTM+ViTKD")
    use: ClassVar = (
        "As `kl`, where the student should match a softened teacher with its own probabilities, as they are used later."
    )
    traps: ClassVar = (
        "There is no square of a temperature, so weights are large: 45 for VGG13 to VGG8 on CIFAR-100.",
        "`weighted` changes the size of the value, by the teacher's doubts: its weight is another one.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        powers = self.gamma * log_softmax(teacher["logits"])
        value = divergence(log_softmax(powers), log_softmax(student["logits"]))
        return log_sum_exp(powers).squeeze(-1).exp() * value if self.weighted else value
