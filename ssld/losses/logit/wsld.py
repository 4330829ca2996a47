"""Weighted soft labels: the teacher counts where it knows the image better than the student does. arXiv:2102.00650

    w     1 - exp(-CE(z_s, label) / (CE(z_t, label) + 1e-7)), both at temperature 1, without a gradient
    loss  alpha T^2 w (- sum over classes of p_t ln p_s), softmaxes of logits / T

The sum is a cross entropy with soft labels and not a divergence: its gradient is the same, its value is not. T 2 and
alpha 2.5 are those of the official code (github.com/bellymonster/Weighted-Soft-Label-Distillation) for ImageNet, beside
a cross entropy of weight 1; for CIFAR-100 they are 4 and 2.25.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, soft_cross_entropy
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Factor, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Wsld(Labelled):
    """alpha T^2 times the soft cross entropy of each image, weighed by how much better the teacher knows it."""

    alpha: Factor = 2.5
    temperature: Positive = 2.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    paper: ClassVar = Paper(
        "Rethinking Soft Labels for Knowledge Distillation: A Bias-Variance Tradeoff Perspective", 2021, "2102.00650"
    )
    golden: ClassVar = "wsld"
    ledger: ClassVar = ("WSLD", "WSL")
    use: ClassVar = (
        "Labelled images, where the student is soon as good as the teacher on many of them: those lose their "
        "weight by themselves."
    )
    traps: ClassVar = (
        "Its part of the teacher is a cross entropy with soft labels and not a divergence: it ends at the "
        "entropy of the teacher, not at 0.",
        "Its teachers for CIFAR-100 were trained in another repository than those of the common benchmark.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t = student["logits"], teacher["logits"]
        hard_s, hard_t = (-at(log_softmax(z), batch["label"]) for z in (z_s.detach(), z_t))
        weight = 1 - (-(hard_s / (hard_t + 1e-7)).clip(min=0)).exp()
        target = log_softmax(z_t / self.temperature).exp()
        soft = soft_cross_entropy(log_softmax(z_s / self.temperature), target)
        return self.alpha * self.temperature**2 * weight * soft
