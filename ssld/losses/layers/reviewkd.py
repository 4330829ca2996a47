"""Define the chain of fusions of knowledge review, see `losses/feature/reviewkd.py`."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn.functional import interpolate, sigmoid
from paddle.nn.initializer import KaimingUniform

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import projection


class Fusion(nn.Layer):
    """Fuse a map [N, width_in, H, W] with that of the fusion before into (map [N, width_out, size, size], handed on).

    first: the deepest fusion, which has nothing before it. The convolutions start at U(+-sqrt(3 / fan in)).
    """

    def __init__(self, width_in: int, width: int, width_out: int, size: int, first: bool):
        super().__init__()
        start = {"weight_attr": KaimingUniform(negative_slope=1.0, nonlinearity="leaky_relu")}
        self.size = [size, size]
        self.reduce = projection(width_in, width, **start)
        self.attention = None if first else nn.Conv2D(2 * width, 2, 1)
        self.out = projection(width, width_out, 3, **start)

    def forward(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.reduce(x)
        if self.attention is not None:
            before = interpolate(before, x.shape[2:], mode="nearest")
            weights = sigmoid(self.attention(paddle.concat([x, before], axis=1)))
            x = x * weights[:, :1] + before * weights[:, 1:]
        if x.shape[2:] != self.size:
            x = interpolate(x, self.size, mode="nearest")
        return self.out(x), x


class Review(nn.Layer):
    """Apply one fusion to each pair of shapes, of student and of teacher, from shallow to deep."""

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape], width: int):
        super().__init__()
        last = len(student) - 1
        self.fusions = nn.LayerList(
            Fusion(
                of_student[0], width, of_teacher[0], of_teacher[1] if len(of_teacher) == 3 else 1, first=number == last
            )
            for number, (of_student, of_teacher) in enumerate(zip(student, teacher, strict=True))
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn the maps of the student, from shallow to deep, into maps of the teacher's shapes, in the same order."""
        fused, before = [], None
        for fuse, x in zip(reversed(list(self.fusions)), reversed(maps), strict=True):
            fused_map, before = fuse(x, before)
            fused.append(fused_map)
        return fused[::-1]
