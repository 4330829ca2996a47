"""Cross entropy with the teacher's probabilities as soft labels: the loss that SSLD is compared with; no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Reads
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor


@dataclass(frozen=True)
class SoftCrossEntropy(Loss):
    """-sum over classes of t ln s: KL(t || s) plus the entropy of the teacher, so it has the same gradient."""

    reads: ClassVar = Reads(teacher={"logits"})
    use: ClassVar = "What the paper of SSLD compares with; it trains exactly as `kl` at temperature 1 does."
    traps: ClassVar = ("Its value ends at the entropy of the teacher, not at 0.",)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        return -(log_softmax(teacher["logits"]).exp() * log_softmax(student["logits"])).sum(axis=-1)
