"""Flow of the solution procedure: how one stage leads to the next, as the teacher does it. CVPR 2017

For two maps in a row, [C_a, H, W] and [C_b, H, W], of which the larger one is averaged to the size of the smaller one,
the flow is their Gram matrix over the places: mean over H W of a_c b_c' [C_a, C_b]. The loss is the sum over the steps
from stage to stage of the mean over C_a C_b of (flow_s - flow_t)^2.

This is the form of the common benchmark (github.com/HobbitLong/RepDistiller), where the loss trains the student for 30
epochs with the weight 50, and the cross entropy alone follows; a port (github.com/yoshitomo-matsubara/torchdistill)
takes the maximum instead of the mean, and a norm. Both networks need the same channels at every tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import match
from ssld.losses.lazy import Tensor
from ssld.losses.maps import PairsLoss

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Fsp(PairsLoss):
    """Sum over steps between stages of the mean over C_a C_b of (flow_s - flow_t)^2.

    student, teacher: names of taps that give maps, in the order of the network; without `teacher` they are those of the
    student.
    """

    paper: ClassVar = Paper(
        "A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and Transfer Learning", 2017
    )
    golden: ClassVar = "fsp"
    ledger: ClassVar = ("FSP",)
    use: ClassVar = "A deep and a shallow network of one family, of equal widths, such as ResNet34 and ResNet18."
    traps: ClassVar = (
        "Channels must be equal at every tap.",
        "Alone it reaches nothing behind the last tap, and a stage that trains what no loss reaches stops: add `ce`.",
        "It is meant as a first stage of training, whose epochs belong to the cost of the method.",
    )
    cost: ClassVar = "Products of all pairs of channels of two maps in a row, summed over all places, of both networks."

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student is not None and len(self.student) < 2:
            raise RecipeError("student: there is only one tap, and a step leads from one to the next; give two or more")

    def check(self, about: About) -> None:
        """Raise RecipeError where the channels of a pair of taps differ."""
        for own, other in self.pairs:
            shapes = about.student[own], about.teacher[other]
            if any(len(shape) != 3 for shape in shapes) or shapes[0][0] != shapes[1][0]:
                what = f"{own} of the student is {shapes[0]} and {other} of the teacher {shapes[1]}"
                raise RecipeError(f"{what}; it needs maps (C, H, W) of equal C: name others, or take nst")

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        flows_s = _flows([student[name] for name in self.student_taps])
        flows_t = _flows([teacher[name] for name in self.teacher_taps])
        return sum((s - t).square().mean(axis=[1, 2]) for s, t in zip(flows_s, flows_t, strict=True))


def _flows(maps: list[Tensor]) -> list[Tensor]:
    """Return the flow of each step between two stages, [N, C_a, C_b], from the maps [N, C, H, W] of each stage."""
    pairs = [match(a, b) for a, b in pairwise(maps)]
    return [a.flatten(2) @ b.flatten(2).transpose([0, 2, 1]) / (a.shape[2] * a.shape[3]) for a, b in pairs]
