"""The SSLD loss: half the symmetrised Kullback-Leibler divergence; no labels. arXiv:2103.05959

With t and s the softmaxes of the logits of teacher and student at temperature 1:

    loss  (KL(t || s) + KL(s || t)) / 2 = sum over classes of (t - s) (ln t - ln s) / 2

The paper calls it JS divergence. The published code (PaddleClas, branch release/static; later its class `DMLLoss`) has
no mixture of the two distributions in it: it averages KL(teacher || student) and KL(student || teacher) over the
classes and multiplies by their number, which is the class sum and batch mean of this file. That code adds 1e-12 to
probabilities; here logarithms are exact, so the two differ only where a probability is about that small. There are no
constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ssld(Loss):
    """(KL(t || s) + KL(s || t)) / 2 at temperature 1 = sum over classes of (t - s)(ln t - ln s) / 2."""

    reads: ClassVar = Reads(teacher={"logits"})
    paper: ClassVar = Paper(
        "Beyond Self-Supervision: A Simple Yet Effective Network Distillation Alternative to Improve Backbones",
        2021,
        "2103.05959",
    )
    golden: ClassVar = "paddle_losses"
    use: ClassVar = "A strong teacher and many images without labels: it has no temperature and no weight to tune."
    traps: ClassVar = (
        "With a label cache that keeps some logits, the half KL(student || teacher) sees the other classes as equals.",
        "The paper calls it JS divergence, which is another loss (`js`).",
        "Code of PaddleClas adds 1e-12 to probabilities, and lets a gradient flow into both sides.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        log_s, log_t = log_softmax(student["logits"]), log_softmax(teacher["logits"])
        return ((log_t.exp() - log_s.exp()) * (log_t - log_s)).sum(axis=-1) / 2
