"""Self-knowledge: the student's own prediction of the epoch before softens the label. arXiv:2006.12000

    target  (1 - a) o + a q, o the one-hot label, q the softmax that the student gave the image when it last saw it
    a       share e / E in epoch e (from 1) of E
    loss    - sum over classes of target ln p_s

An image that was not seen yet has q = o, as in the official code (github.com/lgcnsai/PS-KD-Pytorch), whose share is
0.8. It takes the place of a cross entropy. The predictions of all training images stand in memory and in each
checkpoint: 4 bytes a class and an image, which for ImageNet is 5.1 GB. Several ranks share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Labelled, Paper, Reads
from ssld.losses.classes import one_hot, soft_cross_entropy
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Share

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Pskd(Labelled):
    """Cross entropy with a mixture of the label and the prediction of the epoch before.

    share: of the prediction in the last epoch.
    """

    share: Share = 0.8

    reads: ClassVar = Reads(batch={"label", "index"})
    paper: ClassVar = Paper("Self-Knowledge Distillation with Progressive Refinement of Targets", 2020, "2006.12000")
    golden: ClassVar = "pskd"
    ledger: ClassVar = ("PS-KD",)
    use: ClassVar = (
        "Labelled images and no teacher: it also improves calibration. It takes the place of the cross entropy."
    )
    traps: ClassVar = (
        "It keeps a prediction for each training image: on ImageNet 5.1 GB in memory and in each checkpoint.",
        "The prediction is of the view of the epoch before, which was cropped and flipped otherwise.",
    )
    cost: ClassVar = "There is no teacher to pass forward; predictions are read from a memory and written to it."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.predictions import Predictions

        return Predictions(about)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        log_s = log_softmax(student["logits"])
        before = helpers(batch["index"], one_hot(batch["label"], log_s))
        helpers.write(batch["index"], log_s.exp())
        share = self.share * batch["epoch"] / helpers.epochs
        return soft_cross_entropy(log_s, (1 - share) * one_hot(batch["label"], log_s) + share * before)
