"""Cross entropy with the ground truth, with label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor, paddle


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-(1 - e) ln s[label] - e mean over classes of ln s, e = `smoothing` (arXiv:1512.00567).

    `unlabelled`: what becomes of images without a label: "error" refuses them, for "ignore" they count 0.
    """

    smoothing: float = 0.0
    unlabelled: Literal["error", "ignore"] = "error"

    reads: ClassVar = Reads(batch={"label"})
    mixed: ClassVar = "both"
    paper: ClassVar = Paper("Rethinking the Inception Architecture for Computer Vision", 2015, "1512.00567")
    use: ClassVar = "Wherever there are labels: alone, or beside a loss that learns from a teacher."
    traps: ClassVar = (
        "A teacher that was itself trained with label smoothing was found to teach worse (arXiv:1906.02629).",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise RecipeError(f"smoothing: {self.smoothing} is not in [0, 1); 0.1 is usual")

    def on_unlabelled(self) -> Literal["refuse", "ignore"]:
        return "ignore" if self.unlabelled == "ignore" else "refuse"

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        log_s = log_softmax(student["logits"])
        truth = paddle.take_along_axis(log_s, batch["label"].unsqueeze(-1), axis=-1).squeeze(-1)
        return -(1 - self.smoothing) * truth - self.smoothing * log_s.mean(axis=-1)
