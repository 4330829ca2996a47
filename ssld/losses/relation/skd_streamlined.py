"""Streamlined distillation: how images stand to each other in their logits, in whitened units. CVPR 2026

The logits of an image are divided by their length; G = z z^T [N, N] has the cosines of all pairs of images of a
micro-batch, and D = G_s - G_t. With the covariance S of the rows of D (unbiased, plus 0.1 on its diagonal)

    loss = mean over the rows of sqrt(D_i S^-1 D_i)

the mean Mahalanobis length of a row. The official code (github.com/HyunJunSik/StreamLined) divides both G by the number
of classes first (`scaled: true`); a port (github.com/yoshitomo-matsubara/torchdistill) does not. It is the direction
part of the method; the other part is plain distillation, a term `kl` beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import Paper, Reads
from ssld.losses.functions import root, unit
from ssld.losses.lazy import Tensor, paddle
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class SkdStreamlined(BatchLoss):
    """Mean over n of sqrt(D S^-1 D), D the rows of the gap between the cosines of logits of all pairs of images.

    ridge: what is added to the diagonal of the covariance S. scaled: divide the cosines by the number of classes. One
    number for the micro-batch of a rank.
    """

    ridge: Positive = 0.1
    scaled: bool = True

    reads: ClassVar = Reads(teacher={"logits"})
    every_class: ClassVar = True
    paper: ClassVar = Paper("Streamlined Knowledge Distillation", 2026)
    golden: ClassVar = "skd_streamlined"
    ledger: ClassVar = ("SKD (Streamlined)",)
    use: ClassVar = (
        "Beside `kl`, where logits are all that a teacher gives: it adds what images have to do with each other."
    )
    traps: ClassVar = (
        "With and without `scaled` the covariance is small or large beside `ridge`: these are two losses, not one loss "
        "with two weights.",
        "It solves a system of N equations a step, and compares the images of one micro-batch of one rank.",
        "Its published students without a teacher are one to three points below those of the common benchmark, so its "
        "published gains hold more than the loss.",
    )
    cost: ClassVar = "A covariance of all pairs of images, and the solution of a system of equations of that size."

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        gap = self._cosines(student["logits"]) - self._cosines(teacher["logits"])
        centred = gap - gap.mean(axis=0, keepdim=True)
        covariance = centred.T @ centred / (gap.shape[0] - 1) + self.ridge * paddle.eye(gap.shape[0], dtype=gap.dtype)
        return root((gap * paddle.linalg.solve(covariance, gap.T).T).sum(axis=1)).mean()

    def _cosines(self, logits: Tensor) -> Tensor:
        rows = unit(logits)
        cosines = rows @ rows.T
        return cosines / logits.shape[1] if self.scaled else cosines
