"""Spherical distillation, as its code trains: logits take the deviation of the teacher's. arXiv:2010.07485

Of each image q = z_s std(z_t) / std(z_s), where the deviations are taken over the classes with n - 1 in the denominator
and both gradients flow:

    loss  alpha T^2 KL(p_t || p_q) + (1 - alpha) CE(q, label), the divergence with softmaxes of logits / T

T is 4 in the official code (github.com/forjiuzhou/Spherical-Knowledge-Distillation), and alpha is 0.9, 0.5 from epoch
60 and 0.1 from epoch 80 of 100. Two terms say that: one with alpha 1 and the weight {at: [[0, 0.9], [60, 0.5], [80,
0.1]], between: constant}, and one with alpha 0 and a weight of 1 less that. The text of the repository and PaddleClas
describe another algorithm, see `skd_layer_norm`. The cross entropy is of q, so that no other one is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, deviation, softened
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Positive, Share

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class SkdSpherical(Labelled):
    """alpha T^2 KL(p_t || p_q) + (1 - alpha) CE(q, label); an image without a label counts 0 in both parts."""

    alpha: Share = 0.9
    temperature: Positive = 4.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    mixed: ClassVar = "both"
    every_class: ClassVar = True
    paper: ClassVar = Paper("Spherical Knowledge Distillation", 2020, "2010.07485")
    golden: ClassVar = "skd_spherical"
    ledger: ClassVar = ("SKD (spherical)",)
    use: ClassVar = (
        "A teacher that is far surer than the student can be: the student learns directions, and the size of its "
        "logits is lent by the teacher. It takes the place of the cross entropy."
    )
    traps: ClassVar = (
        "Two different algorithms are called SKD: its text and PaddleClas describe `skd_layer_norm`.",
        "Probabilities that are exported come from the logits as they are, and not from those of the teacher's "
        "size that were trained: the best class is the same, calibration is not.",
        "The published 73.01 for ResNet18 had larger teachers than the usual ResNet34.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t = student["logits"], teacher["logits"]
        q = z_s / deviation(z_s) * deviation(z_t)
        hard = -at(log_softmax(q), batch["label"])
        return self.alpha * softened(q, z_t, self.temperature) + (1 - self.alpha) * hard
