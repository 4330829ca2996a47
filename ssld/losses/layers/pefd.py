"""Define the projectors of projector ensemble feature distillation, see `losses/feature/pefd.py`."""

from __future__ import annotations

from math import prod

import paddle
from paddle import Tensor, nn
from paddle.nn.functional import relu

from ssld.losses.base import Shape


class Projectors(nn.Layer):
    """Average several linear layers with ReLU: [N, d_s] -> [N, d_t]. flatten: a map has C H W numbers, else C."""

    def __init__(self, student: Shape, teacher: Shape, number: int, flatten: bool):
        super().__init__()
        width_in, width = (prod(shape) if flatten else shape[0] for shape in (student, teacher))
        self.layers = nn.LayerList(nn.Linear(width_in, width) for _ in range(number))

    def forward(self, x: Tensor) -> Tensor:
        return paddle.stack([relu(layer(x)) for layer in self.layers]).mean(axis=0)
