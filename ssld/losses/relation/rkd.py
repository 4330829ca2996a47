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
from typing import Any, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.among import BatchLoss
from ssld.losses.base import Paper
from ssld.losses.functions import smooth_l1, unit
from ssld.losses.lazy import Tensor, paddle
from ssld.losses.maps import TapLoss


@dataclass(frozen=True)
class Rkd(BatchLoss, TapLoss):
    """distance h(d_s - d_t) + angle h(a_s - a_t), means over all pairs and triples of images.

    distance, angle: weights of the two parts. mean_over: the distances whose mean is the unit, those of pairs of two
    images, or all N^2. student, teacher: names of taps; a map is one long vector. One number for the micro-batch of a
    rank.
    """

    distance: float = 25.0
    angle: float = 50.0
    mean_over: Literal["pairs", "all"] = "pairs"
    student: str = "embedding"
    teacher: str = "embedding"

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

    def __post_init__(self) -> None:
        if min(self.distance, self.angle) < 0 or not self.distance + self.angle:
            raise RecipeError(f"distance: {self.distance}, angle: {self.angle}; give numbers from 0 up, one above 0")

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        e_s, e_t = _differences(student[self.student]), _differences(teacher[self.teacher])
        total = 0.0
        if self.distance:
            total = total + self.distance * smooth_l1(self._distances(e_s) - self._distances(e_t)).mean()
        if self.angle:
            total = total + self.angle * smooth_l1(_angles(e_s) - _angles(e_t)).mean()
        return total

    def _distances(self, e: Tensor) -> Tensor:
        """[N, N, d] -> [N, N], 1 on average"""
        lengths = e.square().sum(axis=-1).clip(min=1e-12).sqrt()
        if self.mean_over == "all":
            return lengths / lengths.mean()
        apart = 1 - paddle.eye(e.shape[0], dtype=e.dtype)
        lengths = lengths * apart
        return lengths / (lengths.sum() / apart.sum().clip(min=1)).clip(min=1e-12)


def _differences(features: Tensor) -> Tensor:
    """[N, ...] -> [N, N, d], f_i - f_j at place (j, i)"""
    rows = features.flatten(1)
    return rows.unsqueeze(0) - rows.unsqueeze(1)


def _angles(e: Tensor) -> Tensor:
    """[N, N, d] -> [N, N, N], at place (j, i, k) the cosine of the angle at image j between i and k"""
    directions = unit(e)
    return directions @ directions.transpose([0, 2, 1])
