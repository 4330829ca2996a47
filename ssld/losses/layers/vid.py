"""Define the predictions of variational information distillation, see `losses/feature/vid.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn.functional import softplus

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import side

SMALLEST = 1e-5  # smallest variance, as in the official code


class Prediction(nn.Layer):
    """Predict (mean [N, width, H, W], variance [1, width, 1, 1]) of a Gaussian from [N, width_in, H, W]."""

    def __init__(self, width_in: int, width: int, variance: float):
        super().__init__()
        widths = (width_in, width), (width, width), (width, width)
        convs = [nn.Conv2D(before, after, 1, bias_attr=False) for before, after in widths]
        self.mean = nn.Sequential(convs[0], nn.ReLU(), convs[1], nn.ReLU(), convs[2])
        start = nn.initializer.Constant(math.log(math.expm1(variance - SMALLEST)))
        self.log_scale = self.create_parameter([width], dtype=paddle.get_default_dtype(), default_initializer=start)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x), (softplus(self.log_scale, threshold=40) + SMALLEST).reshape([1, -1, 1, 1])


class Predictions(nn.LayerList):
    """Hold one prediction for each pair of shapes (student, teacher)."""

    def __init__(self, shapes: Sequence[tuple[Shape, Shape]], variance: float):
        super().__init__(
            Prediction(side(of_student)[0], side(of_teacher)[0], variance) for of_student, of_teacher in shapes
        )
