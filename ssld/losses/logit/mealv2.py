"""MEAL V2: a discriminator, trained with the student, tells its logits from the teacher's. arXiv:2009.08453

    d     relu(W_3 relu(W_2 relu(W_1 z + b_1) + b_2) + b_3), of widths classes, classes / K, classes / K^2 and 2
    loss  (BCE(d(z_s), [1, 0]) + BCE(d(z_t), [0, 1])) / 2

BCE is the binary cross entropy with logits, the mean over the two numbers. K is 8. The last layer has a ReLU too, and
the gradient is not reversed: student and discriminator descend together, as in the official code
(github.com/szq0214/MEAL-V2). Its other part is the cross entropy with the mean of the teachers' probabilities, which is
the loss `soft_ce` of several teachers, both with weight 1 and without labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Loss, Paper, Reads
from ssld.losses.lazy import F, Tensor, paddle
from ssld.spec.ranges import Count

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class MealV2(Loss):
    """Binary cross entropy of a trained discriminator; `divisor` is K."""

    divisor: Count = 8

    reads: ClassVar = Reads(teacher={"logits"})
    every_class: ClassVar = True
    paper: ClassVar = Paper(
        "MEAL V2: Boosting Vanilla ResNet-50 to 80%+ Top-1 Accuracy on ImageNet without Tricks", 2020, "2009.08453"
    )
    golden: ClassVar = "mealv2"
    ledger: ClassVar = ("MEAL V2",)
    use: ClassVar = (
        "Beside `soft_ce` from the mean of several teachers, for a student that has been trained already, as its "
        "paper does."
    )
    traps: ClassVar = (
        "The student descends the discriminator's loss together with it, so it is helped to be told from the "
        "teacher and not to deceive; the official code has it so.",
        "The last layer of the discriminator has a ReLU too, so that its scores are never negative.",
    )
    cost: ClassVar = "Three linear layers judge the logits of both networks."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.discriminator import Discriminator

        return Discriminator(about.student["logits"][-1], self.divisor)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        z_s, z_t = student["logits"], teacher["logits"]
        scores = helpers(paddle.concat([z_s, z_t.astype(z_s.dtype)]))
        rows = len(z_s)
        first = paddle.arange(2 * rows) < rows  # rows of the student
        target = paddle.stack([first, ~first], axis=1).astype(scores.dtype)
        value = F.binary_cross_entropy_with_logits(scores, target, reduction="none").mean(axis=1)
        return (value[:rows] + value[rows:]) / 2
