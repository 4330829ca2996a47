"""Overhaul of feature distillation: maps before the activation, cut off at a margin below zero. arXiv:1904.01866

For each pair of maps, S pairs from shallow to deep, x is the student's map through a 1x1 convolution and batch norm.
The teacher's map F_t is cut off from below: t' = max(F_t, m), where the margin m_c of channel c is the mean of the
negative values of a normal distribution whose mean b and deviation s = |g| are shift and scale of the teacher's last
batch norm before the activation:

    P    = Phi(-b / s)
    m    = b - s phi(b / s) / P, but -3 s where P <= 0.001
    loss = sum over pairs i of 2^(i + 1 - S) sum over C H W of (x - t')^2 where x > t' or F_t > 0

Formula, constants, and which batch norm is meant (of a residual block the one after its last convolution) are those of
the official code (github.com/clovaai/overhaul-distillation), whose weights are 1e-3 on CIFAR-100 and 1e-4 on ImageNet.
It has its teacher in training mode, which here is `norm: batch` of the teacher. Maps of different sizes are refused by
that code; here the larger one is averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper, Reads
from ssld.losses.functions import match
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.maps import FOUR_BEFORE, PairsLoss
from ssld.losses.stages import BEFORE, instead_of
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn

RARE = 1e-3  # below this share of negative values the margin is three deviations


@dataclass(frozen=True)
class Ofd(PairsLoss):
    """Weighted sum over pairs of taps of the squared gap to the teacher's map, cut off at its margins.

    student, teacher: names of taps; without them every stage before its last activation. Those of the teacher have to
    be such taps, as `stage3.pre` is; its network has to say which batch norm makes them.
    """

    student: tuple[Text, ...] | None = instead_of(FOUR_BEFORE)

    kinds: ClassVar = (BEFORE, BEFORE)

    paper: ClassVar = Paper("A Comprehensive Overhaul of Feature Distillation", 2019, "1904.01866")
    golden: ClassVar = "ofd"
    ledger: ClassVar = ("OFD",)
    use: ClassVar = (
        "Networks with batch norm and ReLU, compared before the activation: what the teacher's ReLU throws away "
        "costs the student nothing."
    )
    traps: ClassVar = (
        "The official code has the teacher in training mode, on statistics of the batch: `norm: batch` of the "
        "teacher says so.",
        "It is a sum over a map, with the weights 1e-3 on CIFAR-100 and 1e-4 on ImageNet.",
        "The teacher's network has to name the batch norm before the activation of each stage; one without is refused.",
    )
    cost: ClassVar = (
        "Each pair of maps has a 1x1 convolution and a batch norm, on the large maps of the early stages as well."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for tap in self.teacher_taps:
            if not tap.endswith(".pre"):
                what = f"{tap} is no map before an activation, and only such a map has a margin"
                raise RecipeError(f"teacher: {what}; name taps such as stage3.pre, or take another loss or teacher")

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        norms = [_norm(tap) for tap in self.teacher_taps]
        return Reads(student=self.student_taps, teacher=self.teacher_taps, weights={"teacher": norms})

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.ofd import Connectors

        return Connectors([(about.student[own], about.teacher[other]) for own, other in self.pairs])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        total = 0.0
        for number, (connect, (own, other)) in enumerate(zip(helpers, self.pairs, strict=True)):
            x, target = match(connect(student[own]), teacher[other])
            norm = _norm(other)
            low = margin(teacher.weights[f"{norm}.weight"], teacher.weights[f"{norm}.bias"])
            cut = paddle.maximum(target, low.reshape([1, -1, 1, 1]))
            counts = ((x > cut) | (target > 0)).astype(x.dtype)
            gap = ((x - cut).square() * counts).sum(axis=[1, 2, 3])
            total = total + 2.0 ** (number + 1 - len(self.pairs)) * gap
        return total


def _norm(tap: str) -> str:
    return f"{tap.removesuffix('.pre')}.norm"


def margin(scale: Tensor, shift: Tensor) -> Tensor:
    """Return m of each channel from scale and shift of a batch norm, [C] each."""
    deviation = scale.detach().abs()
    ratio = shift.detach() / deviation
    below = 0.5 * (1 - (ratio / math.sqrt(2)).erf())
    density = (-ratio.square() / 2).exp() / math.sqrt(2 * math.pi)
    mean = shift.detach() - deviation * density / below.clip(min=RARE)
    return paddle.where(below > RARE, mean, -3 * deviation)  # `below` is no number where scale and shift are 0
