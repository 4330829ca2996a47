"""The textbook Jensen-Shannon divergence: symmetric, at most log 2, no labels (the `ssld` loss is another one)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paddle import Tensor
from paddle.nn.functional import softplus

from ssld.losses._log_softmax import log_softmax
from ssld.losses.registry import LOSSES


@LOSSES.register
@dataclass(frozen=True)
class JensenShannon:
    """(KL(s || m) + KL(t || m)) / 2, with m = (s + t) / 2.

    J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on Information Theory, 1991.
    """

    needs_teacher: ClassVar[bool] = True
    needs_label: ClassVar[bool] = False

    def __call__(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Any]) -> Tensor:
        log_s, log_t = log_softmax(student), log_softmax(teacher.detach())
        # ln(s / m) = ln 2 - ln(1 + t/s): finite also where s or m is too small for a float
        kl_s = log_s.exp() * (math.log(2) - softplus(log_t - log_s))
        kl_t = log_t.exp() * (math.log(2) - softplus(log_s - log_t))
        return (kl_s + kl_t).sum(axis=-1).mean() / 2
