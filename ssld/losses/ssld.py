"""The SSLD loss: half the symmetrised Kullback-Leibler divergence; no labels. arXiv:2103.05959

The paper calls it JS divergence. The published code has no mixture of the two distributions in it: it averages
KL(teacher || student) and KL(student || teacher) over the classes and multiplies by their number, which is the class
sum and batch mean below. That code adds 1e-12 to probabilities; here logarithms are exact, so the two differ only
where a probability is about that small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from paddle import Tensor

from ssld.losses._log_softmax import log_softmax
from ssld.losses.registry import LOSSES


@LOSSES.register
@dataclass(frozen=True)
class Ssld:
    """(KL(t || s) + KL(s || t)) / 2 at temperature 1 = sum over classes of (t - s)(ln t - ln s) / 2."""

    needs_teacher: ClassVar[bool] = True
    needs_label: ClassVar[bool] = False

    def __call__(self, student: Tensor, teacher: Tensor, batch: Mapping[str, Any]) -> Tensor:
        log_s, log_t = log_softmax(student), log_softmax(teacher.detach())
        return ((log_t.exp() - log_s.exp()) * (log_t - log_s)).sum(axis=-1).mean() / 2
