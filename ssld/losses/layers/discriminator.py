"""Define the discriminator of MEAL V2, see `losses/logit/mealv2.py`."""

from __future__ import annotations

from itertools import pairwise

from paddle import Tensor, nn
from paddle.nn.functional import relu

from ssld.errors import RecipeError


class Discriminator(nn.Layer):
    """Turn float [N, classes] into float [N, 2], from 0 up, by three linear layers with a ReLU behind each of them.

    It raises RecipeError where so few classes are divided so often that the ReLUs of a narrow layer could all be 0 for
    ever.
    """

    def __init__(self, classes: int, divisor: int):
        super().__init__()
        widths = [classes, classes // divisor, classes // divisor**2, 2]
        if widths[2] < 2:
            what = f"{classes} classes over its square leave {widths[2]} numbers, and one layer needs 2"
            raise RecipeError(f"divisor: {divisor}: {what}; give a smaller one")
        self.layers = nn.LayerList(nn.Linear(*pair) for pair in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = relu(layer(x))
        return x
