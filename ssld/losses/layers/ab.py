"""Define the connectors of activation boundaries, see `losses/feature/ab.py`."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import Regressor


class Connectors(nn.LayerList):
    """Hold a convolution and batch norm for each pair of shapes (student, teacher)."""

    def __init__(self, shapes: Sequence[tuple[Shape, Shape]]):
        super().__init__(Regressor(of_student, of_teacher, activated=False) for of_student, of_teacher in shapes)
