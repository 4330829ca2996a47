"""Cross entropy with the ground truth, with label smoothing. arXiv:1512.00567

With s the softmax of the student's logits, C classes and e the smoothing:

    loss  - (1 - e) ln s[label] - e / C sum over classes of ln s

e is 0.1 in the paper and in the published trainings of PaddleClas. PaddleClas smooths labels in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads, Without
from ssld.losses.classes import at
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Decay, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class CrossEntropy(Labelled):
    """-(1 - e) ln s[label] - e mean over classes of ln s, e = `smoothing` (arXiv:1512.00567).

    student: the name of the logits, of a student that gives several.
    """

    smoothing: Decay = 0.0
    student: Text = "logits"

    mixed: ClassVar = "both"
    paper: ClassVar = Paper("Rethinking the Inception Architecture for Computer Vision", 2015, "1512.00567")
    golden: ClassVar = Without(
        "Every framework has it built in; a test compares ours with NumPy and with numbers worked out by hand."
    )
    ledger: ClassVar = ("Label Smoothing",)
    use: ClassVar = "Wherever there are labels: alone, or beside a loss that learns from a teacher."
    traps: ClassVar = (
        "A teacher that was itself trained with label smoothing was found to teach worse (arXiv:1906.02629).",
    )

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={self.student}, batch={"label"})

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        log_s = log_softmax(student[self.student])
        return -(1 - self.smoothing) * at(log_s, batch["label"]) - self.smoothing * log_s.mean(axis=-1)
