"""Knowledge distillation: KL(teacher || student) at a temperature, times its square; no labels. arXiv:1503.02531"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Reads
from ssld.losses.classes import check_temperature, softened
from ssld.losses.lazy import Tensor


@dataclass(frozen=True)
class KullbackLeibler(Loss):
    """T^2 sum over classes of t (ln t - ln s); s and t are softmaxes of logits / T.

    The square keeps the size of the gradients about the same for every temperature (section 2 of the paper).
    """

    temperature: float = 1.0

    reads: ClassVar = Reads(teacher={"logits"})

    def __post_init__(self) -> None:
        check_temperature(self.temperature)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        return softened(student["logits"], teacher["logits"], self.temperature)
