"""Correlation congruence: how the images of a micro-batch correlate, in a learnt space. arXiv:1904.01802

f_s and f_t are the vectors of both networks, each through a linear layer of its own to `width` numbers; both layers are
trained. Two different losses go by this name, and `form` says which:

    differences         delta = |f_s - f_t|; mean over neighbours of sum over d of delta_n delta_n+1
                        (github.com/HobbitLong/RepDistiller: the numbers that are usually quoted; weight 0.02)
    gaussian, bilinear  K = kernel of pairs of unit vectors; |K_s - K_t|_F / N^2
                        (the paper's, as github.com/yoshitomo-matsubara/torchdistill has it; the norm is not squared)

bilinear: K_ij = x, gaussian: K_ij = exp(-2 gamma) sum over p <= order of (2 gamma)^p / p! x^p, with x = f_i . f_j; it
is the Taylor series of a Gaussian kernel of unit vectors, with gamma 0.4 and order 2. `differences` is not in the
paper: it compares an image with the next one of the batch, and is 0 as soon as both layers are 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import About, Paper
from ssld.losses.functions import root
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Count, Positive, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Cc(BatchLoss, TapLoss):
    """differences: mean over n of |f_s - f_t|_n . |f_s - f_t|_n+1; gaussian, bilinear: |K_s - K_t|_F / N^2.

    width: numbers of an embedding. gamma, order: of the Gaussian kernel. student, teacher: names of taps; a map is one
    long vector. One number for the micro-batch of a rank.
    """

    form: Literal["differences", "gaussian", "bilinear"] = "differences"
    width: Count = 128
    gamma: Positive = 0.4
    order: Count = 2
    student: Text = "embedding"
    teacher: Text = "embedding"

    paper: ClassVar = Paper("Correlation Congruence for Knowledge Distillation", 2019, "1904.01802")
    golden: ClassVar = "cc"
    ledger: ClassVar = ("CC",)
    use: ClassVar = (
        "`gaussian` is the paper's idea, and needs classes that meet in a batch. `differences` reproduces the row CC "
        "of the common benchmark."
    )
    traps: ClassVar = (
        "The published row CC of the common benchmark is not the paper's loss.",
        "Both linear layers are trained, the teacher's too: the loss can fall without the student learning anything.",
        "It compares the images of one micro-batch of one rank, and `differences` depends on their order.",
    )
    cost: ClassVar = "Two linear layers, and the products of neighbours or of all pairs of images."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.embed import Embeddings

        shapes = about.student[self.student], about.teacher[self.teacher]
        return Embeddings(*shapes, self.width, of_length_1=self.form != "differences")

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        f_s, f_t = helpers.student(student[self.student]), helpers.teacher(teacher[self.teacher])
        if self.form == "differences":
            delta = (f_s - f_t).abs()
            return (delta[:-1] * delta[1:]).sum(axis=1).mean()
        gap = self._kernel(f_s) - self._kernel(f_t)
        return root(gap.square().sum()) / gap.shape[0] ** 2

    def _kernel(self, f: Tensor) -> Tensor:
        """Return the kernel of every pair of rows, [N, width], of length 1 -> [N, N]."""
        x = f @ f.T
        if self.form == "bilinear":
            return x
        factor = 2 * self.gamma
        return math.exp(-factor) * sum(factor**p / math.factorial(p) * x**p for p in range(self.order + 1))
