"""Knowledge distillation: KL(teacher || student) at a temperature, times its square; no labels. arXiv:1503.02531"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paddle import Tensor

from ssld.errors import RecipeError
from ssld.losses._log_softmax import log_softmax
from ssld.losses.registry import LOSSES


@LOSSES.register
@dataclass(frozen=True)
class KullbackLeibler:
    """T^2 sum over classes of t (ln t - ln s), batch mean; s and t are softmaxes of logits / T.

    The square keeps the size of the gradients about the same for every temperature (section 2 of the paper).
    """

    temperature: float = 1.0

    needs_teacher: ClassVar[bool] = True
    needs_label: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise RecipeError(f"loss 'kl': temperature {self.temperature} is not positive; 1 to 10 is usual")

    def __call__(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Any]) -> Tensor:
        log_s = log_softmax(student / self.temperature)
        log_t = log_softmax(teacher.detach() / self.temperature)
        return self.temperature**2 * (log_t.exp() * (log_t - log_s)).sum(axis=-1).mean()
