"""The connectors of activation boundaries, see `losses/feature/ab.py`."""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import Regressor


class Connectors(nn.LayerList):
    """One for each pair of shapes (student, teacher): a convolution and batch norm."""

    def __init__(self, shapes: Sequence[tuple[Shape, Shape]]):
        super().__init__(Regressor(own, other, activated=False) for own, other in shapes)
