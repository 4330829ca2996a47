"""Define the connectors of the overhaul of feature distillation, see `losses/feature/ofd.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from paddle import nn
from paddle.nn.initializer import Normal

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import projection, side


class Connectors(nn.LayerList):
    """Hold a 1x1 convolution from N(0, sqrt(2 / C_t)) and batch norm for each pair of shapes (student, teacher)."""

    def __init__(self, shapes: Sequence[tuple[Shape, Shape]]):
        pairs = [(side(of_student)[0], side(of_teacher)[0]) for of_student, of_teacher in shapes]
        super().__init__(
            projection(of_student, of_teacher, weight_attr=Normal(0.0, math.sqrt(2 / of_teacher)))
            for of_student, of_teacher in pairs
        )
