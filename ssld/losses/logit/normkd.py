"""NormKD: a temperature for each image, from the deviation of its logits. arXiv:2308.00520

With T_t = tau std(z_t) and T_s = tau std(z_s) of each image, the deviations taken over the classes with n - 1 in the
denominator:

    loss  T_t^2 KL(softmax(z_t / T_t) || softmax(z_s / T_s))

The gradient flows through T_s too. tau is 2 on CIFAR-100 and 1 on ImageNet in the official code
(github.com/gizi1/NormKD), with the weights of plain distillation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.classes import deviation
from ssld.losses.functions import divergence, log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class NormKd(Loss):
    """T_t^2 KL of softmaxes at temperatures of their own; `tau` is the share of the deviation."""

    tau: Positive = 1.0

    reads: ClassVar = Reads(teacher={"logits"})
    every_class: ClassVar = True
    paper: ClassVar = Paper("NormKD: Normalized Logits for Knowledge Distillation", 2023, "2308.00520")
    golden: ClassVar = "normkd"
    use: ClassVar = (
        "As `kl` with a temperature for each image: where a teacher is very sure of some images and unsure of others."
    )
    traps: ClassVar = (
        "Each image weighs as the variance of its teacher's logits, so a teacher with large logits needs a small "
        "weight.",
        "The student has a temperature of its own, and a gradient through it.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        t_s, t_t = (self.tau * deviation(outputs["logits"]) for outputs in (student, teacher))
        log_s, log_t = log_softmax(student["logits"] / t_s), log_softmax(teacher["logits"] / t_t)
        return t_t.squeeze(-1).square() * divergence(log_t, log_s)
