"""Spherical distillation, as PaddleClas computes it: a layer norm of both logits, times a constant. arXiv:2010.07485

Of each image n(z) = multiplier (z - mean) / sqrt(variance + 1e-7), with the number of classes in the denominator of the
variance, of student and teacher alike:

    loss  alpha T^2 (- sum over classes of p_t ln p_s) + (1 - alpha) CE(n(z_s), label), softmaxes of n(z) / T

The first part is a cross entropy with soft labels and not a divergence. PaddleClas has alpha 0.9, T 1 and a multiplier
of 2. The code of the paper trains with another algorithm, see `skd_spherical`. The cross entropy is of n(z_s), so that
no other one is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, soft_cross_entropy
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.losses.maps import standardised
from ssld.spec.ranges import Positive, Share

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class SkdLayerNorm(Labelled):
    """alpha T^2 soft cross entropy + (1 - alpha) cross entropy, both of logits after a layer norm."""

    alpha: Share = 0.9
    temperature: Positive = 1.0
    multiplier: Positive = 2.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    mixed: ClassVar = "both"
    every_class: ClassVar = True
    paper: ClassVar = Paper("Spherical Knowledge Distillation", 2020, "2010.07485")
    golden: ClassVar = "paddle_losses"
    ledger: ClassVar = ("SKD (layer norm)",)
    use: ClassVar = "To reproduce the row SKD of PaddleClas; it takes the place of the cross entropy."
    traps: ClassVar = (
        "Two different algorithms are called SKD: what the official code trains with is `skd_spherical`.",
        "Probabilities that are exported come from the logits as they are, and not from the normalised ones that "
        "were trained: the best class is the same, calibration is not.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t = (self.multiplier * standardised(o["logits"], -1, 1e-7) for o in (student, teacher))
        target = log_softmax(z_t / self.temperature).exp()
        soft = self.temperature**2 * soft_cross_entropy(log_softmax(z_s / self.temperature), target)
        return self.alpha * soft - (1 - self.alpha) * at(log_softmax(z_s), batch["label"])
