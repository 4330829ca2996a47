"""A simple recipe for distillation: a linear projection, batch norm, and the logarithm of a high power of the gap.
arXiv:2303.11098

f_s and f_t are the pooled vectors of student and teacher. BN standardises each number over the batch, without scale and
shift, with 1e-4 added to the variance; W and b are trained:

    loss = ln sum over images and d of |BN(W f_s + b) - BN(f_t)|^4

Formula and constants are those of the official code for ImageNet (github.com/roymiles/Simple-Recipe-Distillation):
weight 2, beside a cross entropy and the divergence `kl` at temperature 1. The value is of a micro-batch of a rank as a
whole, and its batch norms see no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss, pooled, standardised
from ssld.spec.ranges import Range, Text

if TYPE_CHECKING:
    from paddle import nn

EPSILON = 1e-4  # of the batch norms
SMALLEST = 1e-30  # of a sum whose logarithm is taken


@dataclass(frozen=True)
class Srd(TapLoss):
    """ln of the sum over images and d of |BN(W f_s + b) - BN(f_t)|^exponent; one number for a micro-batch of a rank."""

    student: Text = "embedding"
    teacher: Text = "embedding"
    exponent: Annotated[float, Range(least=1, most=1000)] = 4.0

    coupled: ClassVar = True
    paper: ClassVar = Paper("Understanding the Role of the Projector in Knowledge Distillation", 2023, "2303.11098")
    golden: ClassVar = "srd"
    ledger: ClassVar = ("SRD",)
    use: ClassVar = (
        "Pooled vectors and large batches: one linear layer, and no scale to tune, since a logarithm is taken."
    )
    traps: ClassVar = (
        "The value is a logarithm, and can be negative: its size says nothing about the gap.",
        "Its batch norms, and the logarithm, see one micro-batch of one rank.",
        "The official code for DeiT computes another loss.",
    )
    cost: ClassVar = "One linear layer and two batch norms of vectors."

    def helpers(self, about: About) -> nn.Layer:
        from paddle import nn

        return nn.Linear(about.student[self.student][0], about.teacher[self.teacher][0])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own = standardised(helpers(pooled(student[self.student])), 0, EPSILON)
        other = standardised(pooled(teacher[self.teacher]), 0, EPSILON)
        return ((own - other).abs() ** self.exponent).sum().clip(min=SMALLEST).log()
