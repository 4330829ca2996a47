"""Masked generative distillation: the student generates the teacher's map from a part of its own. arXiv:2205.01529

a is the student's last map, through a 1x1 convolution where the teacher's has another number of channels. The mask m
leaves out each channel of each image with the probability `dropped`; a 3x3 convolution, ReLU and a 3x3 convolution
generate o of a m:

    loss = alpha sum over C H W of (o - F_t)^2, or for `reduction: mean` alpha times the mean over C H W

Formula and constants are those of the official code for classification (github.com/yzd-v/cls_KD): alpha 7e-5 on
ImageNet, 1.2e-3 on CIFAR-100. For detection the paper leaves out pixels. PaddleClas takes the mean and alpha 1.756,
which is 7e-5 times 512 x 7 x 7. The mask of an image follows from the seed, the step and the image. Of two maps of
different sizes the larger one is averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper, Reads
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Decay, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Mgd(TapLoss):
    """alpha times the squared gap of the generated map, summed (or averaged) over C H W.

    dropped: the probability that a channel is left out.
    """

    alpha: Positive = 7e-5
    dropped: Decay = 0.15
    reduction: Literal["sum", "mean"] = "sum"

    paper: ClassVar = Paper("Masked Generative Distillation", 2022, "2205.01529")
    golden: ClassVar = "mgd"
    ledger: ClassVar = ("MGD",)
    use: ClassVar = (
        "Maps of different channels, where imitation number by number (`hint`) is too strict: the student has to "
        "generate them from a part."
    )
    traps: ClassVar = (
        "`alpha` belongs to a sum over the whole map: a map of another size needs another one, unless "
        "`reduction` is mean.",
        "For classification whole channels are left out, for detection pixels; this is the former.",
        "The generator has two 3x3 convolutions as wide as the teacher: with 2048 channels that is 75 million "
        "parameters.",
    )
    cost: ClassVar = "Two 3x3 convolutions of as many channels as the teacher's map has, forward and backward."

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={self.student}, teacher={self.teacher}, batch={"index"})

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.mgd import Generator

        return Generator(about.student[self.student], about.teacher[self.teacher], about.seed)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        mask = (helpers.draw(batch["index"], batch["step"]) >= self.dropped).astype(student[self.student].dtype)
        generated, target = helpers(student[self.student], teacher[self.teacher], mask)
        gap = (generated - target).square()
        return self.alpha * (gap.sum(axis=[1, 2, 3]) if self.reduction == "sum" else gap.mean(axis=[1, 2, 3]))
