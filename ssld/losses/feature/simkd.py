"""Knowledge distillation with the reused teacher classifier: the student's last map becomes the teacher's.
arXiv:2203.14001

A projector of three convolutions (1x1 to C_t / factor channels, 3x3, 1x1 to C_t channels, each with batch norm and
ReLU) makes p of the student's last map; of p and F_t the larger one is averaged first:

    loss = mean over C H W of (p - F_t)^2

In the paper it is the only loss, with weight 1, and in use the teacher's classifier takes the mean of p over its
pixels: the projector is then a part of the student, and its parameters count. That is a student with another end,
`student: {head: {kind: teacher, factor: 2}}`, and the term `simkd: {projector: false}`. Architecture and constants are
those of the official code (github.com/DefangChen/SimKD), which is run with the factors 2, 4 and 8. As a term for a
student that keeps its own classifier it needs a second term that trains that, such as `ce`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import match
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Count

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Simkd(TapLoss):
    """Mean over C H W of (projector(F_s) - F_t)^2.

    factor: how many times fewer channels the projector has inside than the teacher's map. projector: false where the
    student has it itself, as a part of its end (`student: {head: {kind: teacher}}`).
    """

    factor: Count = 2
    projector: bool = True

    paper: ClassVar = Paper("Knowledge Distillation with the Reused Teacher Classifier", 2022, "2203.14001")
    golden: ClassVar = "simkd"
    ledger: ClassVar = ("SimKD f2", "SimKD f4", "SimKD f8")
    use: ClassVar = (
        "A student that may keep the projector and the teacher's classifier in use; as a term, a strong form of "
        "`hint` of the last map."
    )
    traps: ClassVar = (
        "The published numbers are of students with projector and teacher's classifier, which have more "
        "parameters and cost more in use: `student: {head: {kind: teacher}}`, `projector: false` and no other loss. A "
        "term alone trains the projector and does not export it.",
        "Without such a head it does not train the student's own classifier.",
    )
    cost: ClassVar = "Three convolutions, of which the last makes all channels of the teacher's map."

    def check(self, about: About) -> None:
        own, other = about.student[self.student], about.teacher[self.teacher]
        if not self.projector and own[0] != other[0]:
            what = f"{own[0]} channels of {self.student!r}, and the teacher's {self.teacher!r} has {other[0]}"
            raise RecipeError(f"{what}; give the student the end of this teacher, or set projector: true")

    def helpers(self, about: About) -> nn.Layer | None:
        if not self.projector:
            return None
        from ssld.losses.layers.simkd import Projector

        return Projector(about.student[self.student], about.teacher[self.teacher], self.factor)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        own, other = student[self.student], teacher[self.teacher]
        projected, target = match(own, other) if helpers is None else helpers(own, other)
        return (projected - target).square().mean(axis=[1, 2, 3])
