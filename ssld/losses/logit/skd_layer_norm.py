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
from typing import Any, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Reads
from ssld.losses.classes import at, check_temperature, soft_cross_entropy
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor


@dataclass(frozen=True)
class SkdLayerNorm(Labelled):
    """alpha T^2 soft cross entropy + (1 - alpha) cross entropy, both of logits after a layer norm."""

    alpha: float = 0.9
    temperature: float = 1.0
    multiplier: float = 2.0

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"})
    mixed: ClassVar = "both"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        z_s, z_t = (self._normal(outputs["logits"]) for outputs in (student, teacher))
        target = log_softmax(z_t / self.temperature).exp()
        soft = self.temperature**2 * soft_cross_entropy(log_softmax(z_s / self.temperature), target)
        return self.alpha * soft - (1 - self.alpha) * at(log_softmax(z_s), batch["label"])

    def _normal(self, logits: Tensor) -> Tensor:
        centred = logits - logits.mean(axis=-1, keepdim=True)
        return self.multiplier * centred / (centred.square().mean(axis=-1, keepdim=True) + 1e-7).sqrt()
