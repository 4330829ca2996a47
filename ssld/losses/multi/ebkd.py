"""EBKD: of several teachers the one that is surer of an image weighs more. (Kwon et al., ICASSP 2020)

With H_m the entropy of the softmax of teacher m at temperature 1, M teachers, and KL of softmaxes of logits / T:

    w_m   1 - H_m / (sum over the teachers of H)
    loss  T^2 (sum over m of w_m KL(p_m || p_s)) / M

The weights sum to M - 1 and not to 1, and the code (github.com/Rorozhl/CA-MKD, whose T is 4, beside a cross entropy of
weight 1) divides by M all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.classes import softened
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.several import of_teachers
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ebkd(Loss):
    """T^2 KL from several teachers, weighed for each image by their entropies."""

    temperature: Positive = 4.0

    reads: ClassVar = Reads(teacher={"logits"}, each=True)
    paper: ClassVar = Paper("Adaptive Knowledge Distillation Based on Entropy", 2020)
    golden: ClassVar = "multi_teacher"
    use: ClassVar = "Several teachers and no labels: the entropy says which one is sure."
    traps: ClassVar = (
        "Its weights sum to M - 1 and the sum is divided by M, as in the code of the benchmark: with two "
        "teachers it is half as large as `aver`.",
        "A teacher can be sure and wrong.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        teachers = paddle.stack(of_teachers(teacher))
        losses = [softened(student["logits"], z_t, self.temperature) for z_t in teachers]
        return (entropy_weights(teachers) * paddle.stack(losses)).mean(axis=0)


def entropy_weights(teachers: Tensor) -> Tensor:
    """Return w_m of each image: logits [M, N, classes] -> [M, N]."""
    log_t = log_softmax(teachers)
    entropy = -(log_t.exp() * log_t).sum(axis=-1)
    return 1 - entropy / entropy.sum(axis=0, keepdim=True).clip(min=1e-12)
