"""Teacher-free distillation: the teacher is the network itself, trained before, or an invented one. arXiv:1909.11723

    self       (1 - alpha) CE + alpha multiplier T^2 KL(p_t || p_s) / classes, softmaxes of logits / T
    regularise (1 - alpha) CE + alpha multiplier KL(softmax(u / T) || p_s) / classes, p_s at temperature 1

In the first form the teacher is a frozen network of the student's own architecture. In the second one there is none: u
is 0.99 at the label and shares 0.01 among the other classes. The official code
(github.com/yuanli2333/Teacher-free-Knowledge-Distillation) takes the softmax of these probabilities, which at T 20 is
almost uniform, and divides by images and classes. alpha and T of the forms are 0.9 and 20, and 0.1 and 20; multiplier
is 1, 10 or 50 there. The cross entropy is part of the loss, so that no other one is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, one_hot, softened
from ssld.losses.functions import divergence, log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Factor, Positive, Share

if TYPE_CHECKING:
    from paddle import nn

CORRECT = 0.99  # of the invented teacher, as in the official code


@dataclass(frozen=True)
class TeacherFree(Labelled):
    """(1 - alpha) CE + alpha multiplier KL / classes.

    form: `self` learns from the recipe's teacher, `regularise` from the invented one. alpha: without one it is that of
    the official code, 0.9 and 0.1.
    """

    form: Literal["self", "regularise"] = "self"
    alpha: Share | None = None
    temperature: Positive = 20.0
    multiplier: Factor = 1.0

    mixed: ClassVar = "both"
    every_class: ClassVar = True
    paper: ClassVar = Paper("Revisiting Knowledge Distillation via Label Smoothing Regularization", 2019, "1909.11723")
    golden: ClassVar = "tfkd"
    ledger: ClassVar = ("TF-KD", "Tf-KD")
    use: ClassVar = (
        "No better network is at hand: a network learns from its own earlier training (`self`), or from an "
        "invented teacher (`regularise`). It takes the place of the cross entropy."
    )
    traps: ClassVar = (
        "It divides by the classes, so with 1000 classes the teacher hardly counts unless `multiplier` is large.",
        "The invented teacher is the softmax of probabilities, at temperature 20 almost uniform: that form is "
        "close to label smoothing.",
        "`self` trains twice as long as the student alone.",
    )

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(teacher={"logits"} if self.form == "self" else (), batch={"label"})

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, log_s = student["logits"], log_softmax(student["logits"])
        if self.form == "self":
            soft = softened(z_s, teacher["logits"], self.temperature)
        else:
            soft = divergence(log_softmax(self._invented(batch["label"], z_s) / self.temperature), log_s)
        default = 0.9 if self.form == "self" else 0.1
        alpha = default if self.alpha is None else self.alpha
        return alpha * self.multiplier * soft / z_s.shape[-1] - (1 - alpha) * at(log_s, batch["label"])

    @staticmethod
    def _invented(label: Tensor, like: Tensor) -> Tensor:
        """Return [N, classes]: the probabilities of the invented teacher."""
        true = one_hot(label, like)
        return CORRECT * true + (1 - true) * ((1 - CORRECT) / (like.shape[-1] - 1))
