"""KDCL: networks that train together learn from what they know at best between them. (Guo et al., CVPR 2020)

All networks, this one among them, make one teacher for each image, which has no gradient:

    naive      the logits of the network with the least cross entropy
    min_logit  the least over the networks of each logit less that of the true class
    loss       T^2 KL(p_teacher || p_s), softmaxes of logits / T

T is 2 in the paper, beside a cross entropy of weight 1 for each network. The paper's forms that solve for a mixture of
the networks, or measure it on other images, are not part of this loss, nor are its different augmentations for each
network. There is no official code to compare with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads, Without
from ssld.losses.classes import at, softened
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.several import of_peers
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Kdcl(Labelled):
    """T^2 KL from the teacher that this network and its peers, which a batch has under `peers`, make together."""

    ensemble: Literal["naive", "min_logit"] = "naive"
    temperature: Positive = 2.0

    reads: ClassVar = Reads(batch={"label", "peers"})
    paper: ClassVar = Paper("Online Knowledge Distillation via Collaborative Learning", 2020)
    golden: ClassVar = Without("There is no official code; a test compares it with its formula.")
    use: ClassVar = (
        "Networks of different sizes that train together, where the small ones should learn from the best at "
        "each image."
    )
    traps: ClassVar = (
        "The paper shows each network other augmentations of an image, and has forms that solve for a mixture; "
        "neither is part of this loss.",
        "`min_logit` takes a minimum over all networks, which peers with logits of other sizes disturb.",
    )
    cost: ClassVar = "There is no teacher to pass forward; each network makes a step of its own, forward and backward."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        networks = [student["logits"], *of_peers(batch, student["logits"])]
        every = paddle.stack([logits.detach() for logits in networks])
        return softened(student["logits"], self.together(every, batch["label"]), self.temperature)

    def together(self, networks: Tensor, label: Tensor) -> Tensor:
        """Return the logits of the teacher: [networks, N, classes], int64 [N] -> [N, classes]."""
        if self.ensemble == "min_logit":
            return paddle.stack([logits - at(logits, label).unsqueeze(-1) for logits in networks]).min(axis=0)
        wrong = paddle.stack([-at(log_softmax(logits), label) for logits in networks])
        best = wrong.argmin(axis=0).reshape([1, -1, 1])
        return paddle.take_along_axis(networks, best, axis=0).squeeze(0)
