"""Cross entropy with the teacher's probabilities as soft labels: the loss that SSLD is compared with; no labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paddle import Tensor

from ssld.losses._log_softmax import log_softmax
from ssld.losses.registry import LOSSES


@LOSSES.register
@dataclass(frozen=True)
class SoftCrossEntropy:
    """-sum over classes of t ln s, batch mean: KL(t || s) plus the entropy of the teacher, so the same gradient."""

    needs_teacher: ClassVar[bool] = True
    needs_label: ClassVar[bool] = False

    def __call__(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Any]) -> Tensor:
        return -(log_softmax(teacher.detach()).exp() * log_softmax(student)).sum(axis=-1).mean()
