"""AVER: the mean over several teachers of the distillation from each, or distillation from their mean.

With p_m the softmax of logits / T of each of M teachers and p_s that of the student:

    losses         T^2 mean over m of KL(p_m || p_s)
    probabilities  T^2 KL(mean over m of p_m || p_s)

The gradients of the two are the same, and the first one is larger by what the teachers disagree. T 4 is that of the
benchmark of CA-MKD (github.com/Rorozhl/CA-MKD), beside a cross entropy of weight 1. At T 1 the second one is the loss
`kl` of a stage that combines its teachers by the mean of their probabilities, as MEAL V2 does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Reads, Without
from ssld.losses.classes import softened
from ssld.losses.functions import divergence, log_softmax
from ssld.losses.lazy import Tensor
from ssld.losses.several import of_teachers
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Aver(Loss):
    """T^2 KL from several teachers; `mean` says what is averaged."""

    mean: Literal["losses", "probabilities"] = "losses"
    temperature: Positive = 4.0

    reads: ClassVar = Reads(teacher={"logits"}, each=True)
    paper: ClassVar = Without("Averaging teachers is a baseline of many papers and the invention of none.")
    golden: ClassVar = "multi_teacher"
    use: ClassVar = (
        "The first thing to try with several teachers, and what every other way to weigh them should be compared with."
    )
    traps: ClassVar = (
        "The two forms have the same gradient: the weight of one is the weight of the other, although their "
        "values differ.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, teachers = student["logits"], of_teachers(teacher)
        if self.mean == "losses":
            return sum(softened(z_s, z_t, self.temperature) for z_t in teachers) / len(teachers)
        mean = sum(log_softmax(z_t / self.temperature).exp() for z_t in teachers) / len(teachers)
        log_t = mean.clip(min=1e-38).log()  # 0 times its logarithm is 0
        return self.temperature**2 * divergence(log_t, log_softmax(z_s / self.temperature))
