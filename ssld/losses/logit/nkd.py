"""Normalised distillation: a soft label of the true class, and the other classes among themselves. arXiv:2303.13005

With p_s, p_t softmaxes at temperature 1 and q_s, q_t those of logits / T over all classes but the true one, y:

    loss  - p_t[y] ln p_s[y] - gamma T^2 (sum over the other classes of q_t ln q_s)

The first part is always at temperature 1. gamma 1.5 and T 1 are those of the official code (github.com/yzd-v/cls_KD)
for ImageNet, beside a cross entropy of weight 1; for CIFAR-100 they are 3.5 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, soft_cross_entropy, without
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import F, Tensor
from ssld.spec.ranges import Factor, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Nkd(Labelled):
    """- p_t[y] ln p_s[y] + gamma T^2 cross entropy among the other classes."""

    gamma: Factor = 1.5
    temperature: Positive = 1.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    every_class: ClassVar = True
    paper: ClassVar = Paper(
        "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss and "
        "Customized Soft Labels",
        2023,
        "2303.13005",
    )
    golden: ClassVar = "nkd"
    ledger: ClassVar = ("NKD", "ViTKD+NKD")
    use: ClassVar = (
        "Labelled images and a teacher's logits: as `dkd`, it weighs the other classes apart from the true one, "
        "with one weight less to choose."
    )
    traps: ClassVar = (
        "Its part of the other classes is a cross entropy: it ends at the entropy of the teacher, not at 0.",
        "`gamma` and the temperature belong together: 1.5 and 1 on ImageNet, 3.5 and 3 on CIFAR-100.",
        "With mixed images the official code takes the class of the larger share as the label.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t, label = student["logits"], teacher["logits"], batch["label"]
        target = -at(log_softmax(z_t), label).exp() * at(log_softmax(z_s), label)
        true = F.one_hot(label, z_s.shape[-1]).astype("bool")
        log_s, log_t = (without(z / self.temperature, true) for z in (z_s, z_t))
        return target + self.gamma * self.temperature**2 * soft_cross_entropy(log_s, log_t.exp())
