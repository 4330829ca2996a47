"""Relational distillation: distances and angles between images are those that the teacher sees. arXiv:1904.05068

f_i is the vector of image i, e_ij = f_i - f_j.

    d_ij    length of e_ij (1e-6 at least, and 0 for i = j), over the mean of those that are above 0
    a_ijk   unit(e_ij) . unit(e_kj), the cosine of the angle at image j
    loss    distance mean over N^2 of h(d_s - d_t) + angle mean over N^3 of h(a_s - a_t)

h is the smooth L1 with its bend at 1, and the means count the zeros of i = j too. The gradient flows through the mean
distance of the student. Constants and weights (25 and 50) are those of the common benchmark
(github.com/HobbitLong/RepDistiller, github.com/megvii-research/mdistiller) on pooled vectors; its weight of the term is
1. Two ports differ: PaddleClas (`mean_over: all`) leaves 1e-6 as the distance of an image from itself and divides by
the mean of all N^2 distances, and mmrazor normalises the vectors first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import Paper
from ssld.losses.functions import smooth_l1
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Factor, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Rkd(BatchLoss, TapLoss):
    """distance h(d_s - d_t) + angle h(a_s - a_t), means over all pairs and triples of images.

    distance, angle: weights of the two parts. mean_over: the distances whose mean is the unit, those of pairs of two
    images, or all N^2. student, teacher: names of taps; a map is one long vector. One number for the micro-batch of a
    rank.
    """

    distance: Factor = 25.0
    angle: Factor = 50.0
    mean_over: Literal["pairs", "all"] = "pairs"
    student: Text = "embedding"
    teacher: Text = "embedding"

    paper: ClassVar = Paper("Relational Knowledge Distillation", 2019, "1904.05068")
    golden: ClassVar = "rkd"
    ledger: ClassVar = ("RKD",)
    use: ClassVar = (
        "Vectors of any two widths are compared without a trained layer. Distances alone (`angle: 0`) cost N^2 "
        "numbers; angles see more, and cost N^3."
    )
    traps: ClassVar = (
        "Angles take N^3 numbers: 64 images are 262 thousand, 1024 images a billion.",
        "It compares the images of one micro-batch of one rank; `accumulate` and ranks change its value.",
        "Ports divide by other means, so a weight from PaddleClas or mmrazor does not carry over.",
    )
    cost: ClassVar = (
        "The angles of all N^3 triples of images of a micro-batch, which the gradient passes through as well."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.distance or self.angle):
            raise RecipeError("distance: distance and angle are both 0; give one of them a number above 0")

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        g_s, g_t = _products(student[self.student]), _products(teacher[self.teacher])
        square_s, square_t = _squares(g_s), _squares(g_t)
        total = paddle.zeros([], dtype="float64")
        if self.distance:
            total = total + self.distance * smooth_l1(self._distances(square_s) - self._distances(square_t)).mean()
        if self.angle:
            total = total + self.angle * smooth_l1(_angles(g_s, square_s) - _angles(g_t, square_t)).mean()
        return total.astype(student[self.student].dtype)

    def _distances(self, square: Tensor) -> Tensor:
        """Turn squared distances [N, N] into distances [N, N], 1 on average."""
        lengths = square.clip(min=1e-12).sqrt()
        if self.mean_over == "all":
            return lengths / lengths.mean()
        apart = 1 - paddle.eye(square.shape[0], dtype=square.dtype)
        lengths = lengths * apart
        return lengths / (lengths.sum() / apart.sum().clip(min=1)).clip(min=1e-12)


def _products(features: Tensor) -> Tensor:
    """Return the inner products of f_i - mean f and f_j - mean f, [N, ...] -> float64 [N, N].

    All distances and angles follow from them, without the differences of all pairs of vectors; in float64 they are
    exact enough for images that are near each other.
    """
    rows = features.flatten(1).astype("float64")
    rows = rows - rows.mean(axis=0, keepdim=True)
    return rows @ rows.T


def _squares(g: Tensor) -> Tensor:
    """Turn inner products [N, N] into squared distances [N, N]; 0, without a gradient, where they are about 0."""
    own = g.diagonal()
    square = own.unsqueeze(0) + own.unsqueeze(1) - 2 * g
    return square * (square > 1e-13 * own.detach().max()).astype(g.dtype)


def _angles(g: Tensor, square: Tensor) -> Tensor:
    """Return, at place (j, i, k), the cosine of the angle at image j between i and k: [N, N] twice -> [N, N, N].

    It is 0, without a gradient, where i or k is at the place of j.
    """
    product = g.unsqueeze(0) - g.unsqueeze(2) - g.unsqueeze(1) + g.diagonal().reshape([-1, 1, 1])
    over = (square > 0).astype(g.dtype) * square.clip(min=1e-24).rsqrt()
    return product * over.unsqueeze(2) * over.unsqueeze(1)
