"""The textbook Jensen-Shannon divergence: symmetric, at most log 2, no labels (the `ssld` loss is another one).

With t and s the softmaxes of the logits of teacher and student at temperature 1, and m = (s + t) / 2:

    loss  (KL(s || m) + KL(t || m)) / 2

It has no constants and no official code: it is here because the paper of SSLD gives that name to another loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads, Without
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import F, Tensor

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class JensenShannon(Loss):
    """(KL(s || m) + KL(t || m)) / 2, with m = (s + t) / 2.

    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory, 1991.
    """

    reads: ClassVar = Reads(teacher={"logits"})
    paper: ClassVar = Paper("Divergence Measures Based on the Shannon Entropy", 1991)
    golden: ClassVar = Without(
        "It is a formula of the textbooks; a test compares ours with NumPy and with numbers worked out by hand."
    )
    use: ClassVar = "To ask what SSLD would be if its paper's name for the loss were taken at its word."
    traps: ClassVar = ("It is at most ln 2 an image, so its gradient vanishes where student and teacher agree least.",)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        log_s, log_t = log_softmax(student["logits"]), log_softmax(teacher["logits"])
        # ln(s / m) = ln 2 - ln(1 + t/s): this is finite also where s or m is too small for a float.
        kl_s = log_s.exp() * (math.log(2) - F.softplus(log_t - log_s))
        kl_t = log_t.exp() * (math.log(2) - F.softplus(log_s - log_t))
        return (kl_s + kl_t).sum(axis=-1) / 2
