"""Reconstruction of the teacher's map by a paraphraser: the first stage of factor transfer. arXiv:1802.04977

An autoencoder of six 3x3 convolutions reads the teacher's map F_t and makes r of it:

    loss = mean over C H W of (r - F_t)^2

Its encoder is the paraphraser of the loss `ft`. github.com/HobbitLong/RepDistiller trains it for 30 epochs with this
loss alone, without batch norms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Loss, Paper, Reads
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Part, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Paraphrase(Loss):
    """Mean over C H W of (autoencoder(F_t) - F_t)^2.

    teacher: the name of a tap that gives maps. rate: channels of a factor over those of the map.
    """

    teacher: Text = "map"
    rate: Part = 0.5

    paper: ClassVar = Paper("Paraphrasing Complex Network: Network Compression via Factor Transfer", 2018, "1802.04977")
    golden: ClassVar = "ft"
    use: ClassVar = "The stage before `ft`, and nothing else: no student learns from it."
    traps: ClassVar = ("It reads the teacher alone. The student has no gradient of it.",)
    cost: ClassVar = "Six 3x3 convolutions of as many channels as the teacher's map has, forward and backward."

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(teacher={self.teacher})

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.ft import Paraphraser

        return Paraphraser(about.teacher[self.teacher], self.rate)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        target = teacher[self.teacher]
        return (helpers(target) - target).square().mean(axis=[1, 2, 3])
