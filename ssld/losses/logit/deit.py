"""Distillation of DeiT: a head learns from the teacher's class, or from its probabilities. arXiv:2012.12877

With z_s the logits of the class head and z_d those of the distillation head:

    hard  (1 - alpha) CE(z_s, label) + alpha CE(z_d, class of the highest logit of the teacher)
    soft  (1 - alpha) CE(z_s, label) + alpha T^2 KL(p_t || p_d) / classes, softmaxes of logits / T

alpha is 0.5 and T is 3. The official code (github.com/facebookresearch/deit) divides the soft form by images and
classes, where other methods divide by the images alone, so its weight means something else. A student of the zoo gets a
distillation head by `student: {head: {kind: distillation}}`, whose logits are the tap `distillation` (`head:
distillation`); in use the mean of the logits of both heads counts, as in the official code. Without one the student
learns with its class head. Where some images have no label, {ce: {unlabelled: ignore, weight: 0.5},
soft_ce: {hard: true, weight: 0.5}} is the hard form that uses them too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, softened
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Positive, Share, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Deit(Labelled):
    """(1 - alpha) cross entropy of the class head + alpha distillation of the distillation head.

    head: the name of the logits of the distillation head. temperature: of the soft form.
    """

    form: Literal["hard", "soft"] = "hard"
    alpha: Share = 0.5
    temperature: Positive = 3.0
    head: Text = "logits"

    mixed: ClassVar = "both"
    paper: ClassVar = Paper(
        "Training Data-Efficient Image Transformers & Distillation through Attention", 2020, "2012.12877"
    )
    golden: ClassVar = "deit"
    ledger: ClassVar = ("DeiT hard",)
    use: ClassVar = (
        "A student with a head of its own for the teacher, such as a transformer with a distillation token, and "
        "a teacher whose most probable class is worth a label."
    )
    traps: ClassVar = (
        "The soft form divides by the classes too, so its weight is not that of `kl`.",
        "In use the logits of both heads are averaged, so the exported network has more than its own classifier; a "
        "student without a second head learns both with one.",
    )

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={"logits", self.head}, teacher={"logits"}, batch={"label"})

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_d, z_t = student[self.head], teacher["logits"]
        if self.form == "hard":
            distilled = -at(log_softmax(z_d), z_t.argmax(axis=-1))
        else:
            distilled = softened(z_d, z_t, self.temperature) / z_d.shape[-1]
        return self.alpha * distilled - (1 - self.alpha) * at(log_softmax(student["logits"]), batch["label"])
