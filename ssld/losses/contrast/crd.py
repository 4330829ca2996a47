"""Contrastive representation distillation: an image is told from others by student and teacher together.
arXiv:1910.10699

v_s and v_t are the embeddings of student and teacher, each through a linear layer of its own to `width` numbers and
divided by its length; both layers are trained. Two memories hold the last such vector of every training image. For
image i, itself (number 0) and K others of other classes (numbers 1 .. K):

    o_s[k] = exp(memory_t[k] . v_s / T) / Z_s        o_t[k] = exp(memory_s[k] . v_t / T) / Z_t
    h(o)   = -ln(o[0] / (o[0] + K/n + 1e-7)) - sum over k of ln((K/n) / (o[k] + K/n + 1e-7))
    loss   = h(o_s) + h(o_t)

with n training images. Z is the mean of the scores of the first batch, times n, and a constant from then on. When the
step is made, the memory of each image of the batch becomes half old, half new, and is divided by its length again.

The formulas and constants are those of the official code (github.com/HobbitLong/RepDistiller), whose weight is 0.8
beside a cross entropy of weight 1. What differs: negatives are drawn with replacement, from the step and the image, so
that a resumed run draws the same; several ranks share one memory and one Z, where the official code has one of each on
every GPU. An image without a label has all other images as negatives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Loss, Paper, Reads
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Count, Decay, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Crd(Loss):
    """h(o_s) + h(o_t) as the text at the head of the file says.

    width: numbers of an embedding. negatives: K. temperature: T. momentum: the share of the old memory that stays.
    """

    width: Count = 128
    negatives: Count = 16384
    temperature: Positive = 0.07
    momentum: Decay = 0.5

    reads: ClassVar = Reads(student={"embedding"}, teacher={"embedding"}, batch={"index"})
    paper: ClassVar = Paper("Contrastive Representation Distillation", 2019, "1910.10699")
    golden: ClassVar = "crd"
    ledger: ClassVar = ("CRD", "CRD+KD", "WTTM+CRD")
    use: ClassVar = "Pooled vectors of networks that share nothing, where a memory of every training image fits."
    traps: ClassVar = (
        "Two memories of 1.28 million images are 1.3 GB, and a step gathers `negatives` rows for each image.",
        "Its constants come from the first batch and stay.",
        "The official code has memories of its own on each GPU; here all ranks share one.",
    )
    cost: ClassVar = (
        "For each image the vectors of `negatives` others are gathered from two memories and compared with it."
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.contrast import Contrast

        return Contrast(self, about)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        candidates = helpers.draw(batch["index"], batch["step"])
        return helpers(student["embedding"], teacher["embedding"], batch["index"], candidates)
