"""VkD: an orthogonal projection of the student's vector matches the teacher's normalised one. arXiv:2403.06213

f_s and f_t are the pooled vectors, W [d_t, d_s] is trained and has orthonormal columns (orthonormal rows where d_t is
smaller), LN centres a vector and divides it by the deviation of its numbers, with 1e-5 added to the variance:

    loss = mean over d of smooth_l1(W f_s - LN(f_t))

smooth_l1(x) is x^2 / 2 up to |x| = 1 and |x| - 1/2 beyond. Formula and constants are those of the official code
(github.com/roymiles/vkd), which adds a cross entropy, and a divergence on a distillation head. There W is a product of
Householder reflections; here it is V L^-T with a free matrix V and the Cholesky factor L of V^T V, which reaches the
same matrices with another path of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.functions import smooth_l1
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss, pooled, standardised
from ssld.spec.ranges import Text

if TYPE_CHECKING:
    from paddle import nn

EPSILON = 1e-5  # of the layer norm


@dataclass(frozen=True)
class Vkd(TapLoss):
    """Mean over d of the smooth L1 of the projected vector of the student and the normalised one of the teacher."""

    student: Text = "embedding"
    teacher: Text = "embedding"

    paper: ClassVar = Paper("VkD: Improving Knowledge Distillation Using Orthogonal Projections", 2024, "2403.06213")
    golden: ClassVar = "vkd"
    ledger: ClassVar = ("VkD",)
    use: ClassVar = (
        "Pooled vectors of a student that is narrower than its teacher, such as a small transformer: the "
        "projection cannot learn in its stead."
    )
    traps: ClassVar = (
        "Where the teacher is the narrower one, rows instead of columns are orthonormal, and a part of the "
        "student's vector is free.",
        "The published rows have a divergence on a distillation head in addition.",
    )
    cost: ClassVar = (
        "A Cholesky factor and the solution of a system of equations, both of the width of the narrower vector."
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.vkd import Orthogonal

        return Orthogonal(about.student[self.student][0], about.teacher[self.teacher][0])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, other = helpers(pooled(student[self.student])), standardised(pooled(teacher[self.teacher]), -1, EPSILON)
        return smooth_l1(own - other).mean(axis=1)
