"""The discriminator of MEAL V2, see `losses/logit/mealv2.py`."""

from __future__ import annotations

from itertools import pairwise

from paddle import Tensor, nn
from paddle.nn.functional import relu


class Discriminator(nn.Layer):
    """float [N, classes] -> float [N, 2], from 0 up: three linear layers with a ReLU behind each of them."""

    def __init__(self, classes: int, divisor: int):
        super().__init__()
        widths = [classes, max(classes // divisor, 1), max(classes // divisor**2, 1), 2]
        self.layers = nn.LayerList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = relu(layer(x))
        return x
