"""Refined logits: the teacher's doubts are kept, its mistakes are left out. arXiv:2408.07703

With s the probability that the student gives the true class y, and m the highest probability of the teacher, both at a
temperature T_a of their own:

    SCD   KL of the two-way distributions (m, 1 - m) and (s, 1 - s)
    MCD   KL(q_t || q_s), softmaxes of logits / T over the classes that the teacher holds for less probable than y
    loss  alpha T_a^2 SCD + beta T^2 MCD

An image whose true class is the teacher's last has nothing left and counts 0 in MCD. The official code
(github.com/zju-SWJ/RLD) hides classes by taking 1000 from their logits; here they are left out exactly. Its alpha is 1;
beta 8, T 4 and T_a 1 on CIFAR-100, beta 0.5 and T 1 on ImageNet, beside a cross entropy of weight 1. It multiplies the
loss by min(epoch / 20, 1), on ImageNet by 1: the weight of the term is {at: [[0, 0], [20, 1]], per: epoch}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, two_way, without
from ssld.losses.functions import divergence
from ssld.losses.lazy import F, Tensor
from ssld.spec.ranges import Factor, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Rld(Labelled):
    """alpha T_a^2 SCD + beta T^2 MCD; `temperature` is T, `confidence_temperature` is T_a."""

    alpha: Factor = 1.0
    beta: Factor = 8.0
    temperature: Positive = 4.0
    confidence_temperature: Positive = 1.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    every_class: ClassVar = True
    paper: ClassVar = Paper("Knowledge Distillation with Refined Logits", 2024, "2408.07703")
    golden: ClassVar = "rld"
    use: ClassVar = (
        "Labelled images and a teacher that is often wrong: what it holds for likelier than the truth is left out."
    )
    traps: ClassVar = (
        "An image whose true class is the teacher's last counts 0 in the second part, and an image that it gets "
        "wrong loses many classes.",
        "Its official code prints no numbers.",
        "Its warm-up counts epochs from 1, so that the first one has a twentieth of the weight and not 0.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t, label = student["logits"], teacher["logits"], batch["label"]
        true, top = (F.one_hot(classes, z_s.shape[-1]).astype("bool") for classes in (label, z_t.argmax(axis=-1)))
        own = self.confidence_temperature
        confidence = divergence(two_way(z_t / own, top), two_way(z_s / own, true))
        hidden = z_t >= at(z_t, label).unsqueeze(-1)
        log_s, log_t = (without(z / self.temperature, hidden) for z in (z_s, z_t))
        masked = divergence(log_t, log_s)
        return self.alpha * own**2 * confidence + self.beta * self.temperature**2 * masked
