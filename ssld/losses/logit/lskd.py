"""Logit standardisation: any distillation of logits that each have mean 0 and deviation 1. arXiv:2403.01427

The logits of each image, of student and teacher, lose their mean and are divided by their standard deviation + 1e-7;
then `kl` or `dkd` is computed at a base temperature, with its square. The deviation has n - 1 in its denominator and is
part of the gradient, as in the official code (github.com/sunshangquan/logit-standardization-KD).

That code gives the term the weight 9 beside a cross entropy of weight 0.1 on CIFAR-100 (1.0 on ImageNet), where its
plain distillation has 0.9: part of what it gains may come from the weight. The temperature of both is 2; for `dkd`
alpha and beta are 9 times those of DKD, which here is the weight of the term.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Loss, Paper, Reads
from ssld.losses.classes import standardised
from ssld.losses.lazy import Tensor
from ssld.losses.logit.dkd import Dkd
from ssld.losses.logit.kl import KullbackLeibler
from ssld.spec.ranges import Factor, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Lskd(Labelled):
    """`kl` or `dkd` of standardised logits.

    base: the loss. alpha, beta: of `dkd`. `unlabelled` matters to `dkd` alone, which reads labels.
    """

    base: Literal["kl", "dkd"] = "kl"
    temperature: Positive = 2.0
    alpha: Factor = 1.0
    beta: Factor = 8.0

    every_class: ClassVar = True
    paper: ClassVar = Paper("Logit Standardization in Knowledge Distillation", 2024, "2403.01427")
    golden: ClassVar = "lskd"
    ledger: ClassVar = ("KD+LS", "DKD+LS", "CTKD+LS")
    use: ClassVar = "Teacher and student whose logits differ much in size: the student has to match their shape only."
    traps: ClassVar = (
        "The published rows have ten times the weight of plain distillation (9 instead of 0.9), and no row of "
        "plain distillation with that weight was published. Compare with `kl` of the same weight and temperature.",
        "A user found it to cost two points, untuned, where an ensemble of transformers teaches a MobileNet.",
    )

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return self._base.reads

    @property
    def _base(self) -> Loss:
        if self.base == "kl":
            return KullbackLeibler(self.temperature)
        return Dkd(self.alpha, self.beta, self.temperature)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t = (Outputs({"logits": standardised(outputs["logits"])}) for outputs in (student, teacher))
        return self._base(z_s, z_t, batch, helpers)
