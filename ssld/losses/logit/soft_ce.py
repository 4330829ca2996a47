"""Cross entropy with the teacher's probabilities as soft labels: the loss that SSLD is compared with; no labels.

With t and s the softmaxes of the logits of teacher and student at temperature 1:

    loss  - sum over classes of t ln s

It is KL(t || s) plus the entropy of the teacher, a constant, and so has the gradient of `kl` at temperature 1. It is
the loss to which the paper of SSLD (arXiv:2103.05959) compares its own; value and gradient are those of the class
`CELoss` of PaddleClas with soft labels. There are no constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Reads, Without
from ssld.losses.classes import at, soft_cross_entropy
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class SoftCrossEntropy(Loss):
    """-sum over classes of t ln s: KL(t || s) plus the entropy of the teacher, so it has the same gradient.

    student: the name of the logits, of a student that gives several. hard: the class that the teacher holds for the
    most probable one is the label, as in the hard form of DeiT (arXiv:2012.12877).
    """

    student: Text = "logits"
    hard: bool = False

    paper: ClassVar = Without("A cross entropy with soft labels is older than distillation.")
    golden: ClassVar = "paddle_losses"
    use: ClassVar = "What the paper of SSLD compares with; it trains exactly as `kl` at temperature 1 does."
    traps: ClassVar = ("Its value ends at the entropy of the teacher, not at 0.",)

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={self.student}, teacher={"logits"})

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        log_s, z_t = log_softmax(student[self.student]), teacher["logits"]
        if self.hard:
            return -at(log_s, z_t.argmax(axis=-1))
        return soft_cross_entropy(log_s, log_softmax(z_t).exp())
