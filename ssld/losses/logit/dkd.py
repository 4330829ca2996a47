"""Decoupled knowledge distillation: the true class and the other classes are weighed apart. arXiv:2203.08679

With s and t the probabilities that student and teacher give the true class at temperature T, and q_s, q_t their
softmaxes over the other classes:

    target      KL of the two-way distributions (t, 1 - t) and (s, 1 - s)
    non-target  KL(q_t || q_s)
    loss        T^2 (alpha target + beta non-target)

The official code (github.com/megvii-research/mdistiller) leaves the true class out by taking 1000 from its logit, and
finds 1 - s by a sum; here it is left out exactly, and ln(1 - s) is a difference of two log-sums, so that large logits
stay finite. The defaults are those of the code for resnet32x4 -> resnet8x4 on CIFAR-100. The code multiplies the loss
by min(epoch / 20, 1), which here is the weight of the term: {at: [[0, 0], [20, 1]], per: epoch}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import two_way, without
from ssld.losses.functions import divergence
from ssld.losses.lazy import F, Tensor
from ssld.spec.ranges import Factor, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Dkd(Labelled):
    """T^2 (alpha KL of the true class against the rest + beta KL among the rest)."""

    alpha: Factor = 1.0
    beta: Factor = 8.0
    temperature: Positive = 4.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    every_class: ClassVar = True
    paper: ClassVar = Paper("Decoupled Knowledge Distillation", 2022, "2203.08679")
    golden: ClassVar = "dkd"
    ledger: ClassVar = ("DKD", "DKD+CTKD")
    use: ClassVar = (
        "Logits and labels, and a teacher so sure of the true class that `kl` hardly sees the other classes."
    )
    traps: ClassVar = (
        "`beta` is tuned for each pair: 8, 6 or 2 on CIFAR-100, 0.5 and 2 on ImageNet.",
        "Its warm-up counts epochs from 1, so that the first one has a twentieth of the weight and not 0.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t = student["logits"] / self.temperature, teacher["logits"] / self.temperature
        true = F.one_hot(batch["label"], z_s.shape[-1]).astype("bool")
        target = divergence(two_way(z_t, true), two_way(z_s, true))
        others = divergence(without(z_t, true), without(z_s, true))
        return self.temperature**2 * (self.alpha * target + self.beta * others)
