"""Knowledge distillation: KL(teacher || student) at a temperature, times its square; no labels. arXiv:1503.02531"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Reads
from ssld.losses.functions import divergence, log_softmax
from ssld.losses.lazy import Tensor


@dataclass(frozen=True)
class KullbackLeibler(Loss):
    """T^2 sum over classes of t (ln t - ln s); s and t are softmaxes of logits / T.

    The square keeps the size of the gradients about the same for every temperature (section 2 of the paper).
    """

    temperature: float = 1.0

    reads: ClassVar = Reads(teacher={"logits"})

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RecipeError(f"temperature: {self.temperature} is not positive; 1 to 10 is usual")

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        log_s = log_softmax(student["logits"] / self.temperature)
        log_t = log_softmax(teacher["logits"] / self.temperature)
        return self.temperature**2 * divergence(log_t, log_s)
