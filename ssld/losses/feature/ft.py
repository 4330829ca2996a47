"""Factor transfer: the teacher's map, paraphrased, is what the student's map is translated to. arXiv:1802.04977

The paraphraser is the encoder of an autoencoder of the teacher's map, trained before by the loss `paraphrase`; it stays
as it is. The translator, of the same shape with batch norms, is trained with the student. Both make factors f with
`rate` times as many channels as the teacher's map. For `form: attention`, with A(f) = unit(mean over C of f^2):

    loss = mean over H W of |A(f_s) - A(f_t)|

and for `form: factor` the mean over C H W of |unit(f_s) - unit(f_t)|, with the length over all numbers of a factor. The
first is what github.com/HobbitLong/RepDistiller computes, with weight 200; the second is the paper's, with which
github.com/yoshitomo-matsubara/torchdistill takes weight 1000. Layers and constants are those of the former.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import match, unit
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Part

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ft(TapLoss):
    """Mean absolute gap of the factors of student and teacher, by their attention or as they are.

    rate: channels of a factor over those of the teacher's map.
    """

    rate: Part = 0.5
    form: Literal["attention", "factor"] = "attention"

    paper: ClassVar = Paper("Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018, "1802.04977")
    golden: ClassVar = "ft"
    ledger: ClassVar = ("FT",)
    use: ClassVar = "A teacher's map with many channels, of which a trained encoder keeps what matters."
    traps: ClassVar = (
        "The paraphraser has to be trained before, by a stage with the loss `paraphrase`, whose epochs belong to "
        "the cost of the method.",
        "The row FT of the common benchmark compares attention maps of the factors and is not the paper's loss, "
        "which is `form: factor`.",
    )
    cost: ClassVar = "Both maps pass through three 3x3 convolutions, those of the student forward and backward."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.ft import Factors

        return Factors(about.student[self.student], about.teacher[self.teacher], self.rate)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, other = match(*helpers(student[self.student], teacher[self.teacher]))
        if self.form == "attention":
            own, other = own.square().mean(axis=1), other.square().mean(axis=1)
        return (unit(own.flatten(1)) - unit(other.flatten(1))).abs().mean(axis=1)
