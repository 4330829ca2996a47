"""Define the attention of attention-based feature distillation, see `losses/feature/afd.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn.functional import relu, softmax

from ssld.losses.maps import pooled


class Normed(nn.Layer):
    """Apply a linear layer and batch norm: [N, width_in] -> [N, width]."""

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.linear, self.bn = nn.Linear(width_in, width), nn.BatchNorm1D(width)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.linear(x))


class Attention(nn.Layer):
    """Turn maps of S taps of the student and T taps of the teacher into weights [N, T, S]; they sum to 1 over the S."""

    def __init__(self, student: Sequence[int], teacher: Sequence[int], width: int):
        super().__init__()
        self.keys = nn.LayerList(Normed(channels, width) for channels in student)
        self.queries = nn.LayerList(Normed(channels, width) for channels in teacher)
        self.spread = Normed(width, width * len(teacher))
        self.place_s, self.place_t = (
            self.create_parameter(
                [len(taps), width],
                dtype=paddle.get_default_dtype(),
                default_initializer=nn.initializer.XavierNormal(),
            )
            for taps in (student, teacher)
        )

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        keys = paddle.stack([relu(key(pooled(x))) for key, x in zip(self.keys, student, strict=True)], axis=1)
        queries = paddle.stack([query(pooled(x)) for query, x in zip(self.queries, teacher, strict=True)], axis=1)
        n, taps, width = keys.shape
        spread = self.spread(keys.reshape([n * taps, width])).reshape([n, taps, -1, width])  # [N, S, T, width]
        meeting = (spread * queries.unsqueeze(1)).sum(axis=-1).transpose([0, 2, 1])
        return softmax((meeting + self.place_t @ self.place_s.T) / math.sqrt(width), axis=-1)
