"""The connectors of the overhaul of feature distillation, see `losses/feature/ofd.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paddle import nn
from paddle.nn.initializer import Normal

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import projection, side


class Connectors(nn.LayerList):
    """One for each pair of shapes (student, teacher): a 1x1 convolution from N(0, sqrt(2 / C_t)), and batch norm."""

    def __init__(self, shapes: Sequence[tuple[Shape, Shape]]):
        pairs = [(side(own)[0], side(other)[0]) for own, other in shapes]
        super().__init__(projection(own, other, weight_attr=Normal(0.0, math.sqrt(2 / other))) for own, other in pairs)
