"""Distillation of activation boundaries: which units are active, before the activation. arXiv:1811.03233

For each pair of maps, S pairs from shallow to deep, x is the student's map through a convolution and batch norm
(without an activation, else the layer of the loss `hint`), and F_t is the teacher's map before its activation:

    loss = 3 / 1000 sum over pairs i of 2^(i + 1 - S) sum over C H W of
           (x + 1)^2 where x > -1 and F_t <= 0, and (x - 1)^2 where x <= 1 and F_t > 0

Formula and constants are those of github.com/HobbitLong/RepDistiller, the margin 1 among them. There, as in the paper,
the loss alone trains the student for 30 epochs, and then the cross entropy alone: two stages of a recipe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import Tensor
from ssld.losses.maps import FOUR_BEFORE, PairsLoss
from ssld.losses.stages import BEFORE, instead_of
from ssld.spec.ranges import Positive, Text

if TYPE_CHECKING:
    from paddle import nn

FACTOR = 3 / 1000  # of the code


@dataclass(frozen=True)
class Ab(PairsLoss):
    """Weighted sum over pairs of taps of the squared distance to the right side of the boundary, with a margin.

    student, teacher: taps before an activation, such as `stage3.pre`; without them every stage. A stage that ends in
    none is taken as it is, as the networks of the common benchmark hand it out.
    """

    student: tuple[Text, ...] | None = instead_of(FOUR_BEFORE)
    margin: Positive = 1.0

    kinds: ClassVar = (BEFORE, BEFORE)

    paper: ClassVar = Paper(
        "Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden Neurons", 2018, "1811.03233"
    )
    golden: ClassVar = "ab"
    ledger: ClassVar = ("AB",)
    use: ClassVar = (
        "A first stage that gives the student the teacher's pattern of active units, before the cross entropy "
        "trains it alone."
    )
    traps: ClassVar = (
        "It is meant as a first stage of training, whose epochs belong to the cost of the method.",
        "A boundary is where a ReLU begins. Of a stage that ends in another activation, or in none, the sign of the "
        "values is compared all the same.",
    )
    cost: ClassVar = (
        "Each pair of maps has a 1x1 convolution and a batch norm, on the large maps of the early stages as well."
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.ab import Connectors

        return Connectors([(about.student[own], about.teacher[other]) for own, other in self.pairs])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        total = 0.0
        for number, (connect, (own, other)) in enumerate(zip(helpers, self.pairs, strict=True)):
            x, active = connect(student[own]), teacher[other] > 0
            above = (x + self.margin).square() * ((x > -self.margin) & ~active).astype(x.dtype)
            below = (x - self.margin).square() * ((x <= self.margin) & active).astype(x.dtype)
            total = total + 2.0 ** (number + 1 - len(self.pairs)) * (above + below).sum(axis=[1, 2, 3])
        return FACTOR * total
