"""Curriculum temperature: distillation at a temperature that learns to make it hard. arXiv:2211.16231

    T     start + span sigmoid(theta), theta a trained number that begins at 1
    loss  T^2 KL(p_t || p_s), softmaxes of logits / T

The gradient that theta gets is multiplied by lambda, which goes from 0 to -1 along a cosine over `ramp` epochs and
stays there: theta climbs where the student descends. The number of the epoch counts from 1. T^2 is in the graph, so
that theta can move the loss by the factor alone. start 1, span 20 and ramp 10 (5 on ImageNet) are those of the official
code (github.com/zhengli97/CTKD), with weight 0.9 beside a cross entropy of weight 0.1 on CIFAR-100, 1 and 1 on
ImageNet; theta has the optimizer of the student. The temperature of each step is logged as `<term>/temperature`: in
published runs it fell to its lower bound within five epochs and stayed there, where the method is `kl` at that bound.
The form with a temperature for each image is not part of this loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Loss, Paper, Reads
from ssld.losses.classes import softened
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ctkd(Loss):
    """T^2 KL(p_t || p_s) at a trained temperature between `start` and `start` + `span`."""

    start: Positive = 1.0
    span: Positive = 20.0
    ramp: Positive = 10.0

    reads: ClassVar = Reads(teacher={"logits"})
    every_class: ClassVar = True
    paper: ClassVar = Paper("Curriculum Temperature for Knowledge Distillation", 2022, "2211.16231")
    golden: ClassVar = "ctkd"
    ledger: ClassVar = ("CTKD", "CTKD+LS", "DKD+CTKD")
    use: ClassVar = "As `kl`, where no temperature is known: a trained one takes the place of a search."
    traps: ClassVar = (
        "Look at the logged temperature. In all 14 published logs of the method with standardised logits it "
        "falls to its lower bound by the fifth epoch and stays there, so that these rows are `lskd` at that "
        "bound.",
        "The square of the temperature is part of what theta can change, so theta can raise the loss by this "
        "factor alone.",
        "Users who ran it on ImageNet report 70.3 and 70.5 for ResNet18, where 71.32 was published.",
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.temperature import Temperature

        return Temperature(self.start, self.span)

    def reversal(self, epoch: float) -> float:
        """Return lambda of an epoch, counted from 1: what the gradient of theta is multiplied by."""
        return -0.5 * (1 - math.cos(math.pi * min(epoch / self.ramp, 1.0)))

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        temperature = helpers(self.reversal(batch.get("epoch", 1)))
        return softened(student["logits"], teacher["logits"], temperature)
