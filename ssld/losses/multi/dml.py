"""Deep mutual learning: networks that train together learn from each other. arXiv:1706.00384

With p_s the softmax of a network and p_k those of the K other ones:

    loss  mean over k of T^2 KL(p_k || p_s), where p_k has no gradient

The paper has T 1, beside a cross entropy of weight 1 for each network, and lets the networks step in turn; here they
step together. PaddleClas computes another loss, half the symmetrised divergence of the pair, once for both networks
(`symmetric`). A stage sums the losses of its networks, so that `detached: true` gives that gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.classes import softened
from ssld.losses.lazy import Tensor
from ssld.losses.several import of_peers
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Dml(Loss):
    """T^2 KL from each of the networks that train beside this one, which a batch has under `peers`.

    symmetric: half of the divergences in both directions. detached: the others get no gradient of this loss.
    """

    temperature: Positive = 1.0
    symmetric: bool = False
    detached: bool = True

    reads: ClassVar = Reads(batch={"peers"})
    paper: ClassVar = Paper("Deep Mutual Learning", 2017, "1706.00384")
    golden: ClassVar = "dml"
    ledger: ClassVar = ("DML",)
    use: ClassVar = "No teacher at all: two or more networks train from fresh weights and learn from each other."
    traps: ClassVar = (
        "Peers need different fresh weights: equal ones stay equal for ever.",
        "In the paper the networks step in turn; here they step together.",
        "PaddleClas computes one symmetric loss of a pair, whose gradient reaches both networks. Here each network has "
        "a loss of its own and the sum is minimised, so `symmetric` with `detached: true` gives the same gradients, "
        "and with `detached: false` it gives twice as large ones.",
    )
    cost: ClassVar = "There is no teacher to pass forward; each network makes a step of its own, forward and backward."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        others = of_peers(batch, student["logits"])
        return sum(self._from(student["logits"], other) for other in others) / len(others)

    def _from(self, own: Tensor, other: Tensor) -> Tensor:
        """Return T^2 times the divergence of each image, [N]."""
        other = other.detach() if self.detached else other
        value = softened(own, other, self.temperature)
        return (value + softened(other, own, self.temperature)) / 2 if self.symmetric else value
