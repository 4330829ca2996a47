"""UDML: networks that train together also make their feature maps alike. (PaddlePaddle/PaddleClas, 2021)

With F_s a tap of a network and F_k the same tap of the K other ones:

    loss  sum over taps of mean over k of mean over C H W of (F_s - F_k)^2, where F_k has no gradient

It is the part that UDML adds to mutual learning of logits, the loss `dml`, with a weight of 1 for both beside the cross
entropy. PaddleClas computes it once for a pair, with a gradient to both networks; a stage sums the losses of its
networks, which gives the same gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import LOGITS, Loss, Paper, Reads, Without
from ssld.losses.lazy import Tensor
from ssld.losses.several import peers_of
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Udml(Loss):
    """Mean squared gap from the taps of each network that trains beside this one, which a batch has under `peers`."""

    taps: tuple[Text, ...] = ("map",)

    paper: ClassVar = Paper("UDML: PaddleClas, knowledge distillation of PP-LCNet", 2021)
    golden: ClassVar = Without("There is no golden file; a test compares it with its formula.")
    ledger: ClassVar = ("UDML",)
    use: ClassVar = "Beside `dml`, where the networks that train together have the same architecture."
    traps: ClassVar = ("The taps of all networks need the same shape: nothing brings them together.",)
    cost: ClassVar = "There is no teacher; every network that trains beside the student passes forward and backward."

    @property
    def reads(self) -> Reads:  # type: ignore[override]  # it depends on an option
        return Reads(student=LOGITS | {*self.taps}, batch={"peers"})

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        peers = peers_of(batch)
        gaps = [_gap(student, peer, tap, name) for tap in self.taps for name, peer in peers.items()]
        return sum(gaps) / len(peers)


def _gap(own: Outputs, other: Outputs, tap: str, name: str) -> Tensor:
    """Return the mean squared gap of a tap of each image, [N]."""
    a, b = own[tap], other[tap].detach()
    if a.shape != b.shape:
        what = f"tap {tap!r} is {list(a.shape[1:])}, and {list(b.shape[1:])} of the network {name!r} beside it"
        raise RunError(f"loss udml: {what}; train networks of one architecture, or name another tap")
    return (a - b).square().flatten(1).mean(axis=1)
