"""Define layers that bring vectors or maps into a space in which a loss compares them."""

from __future__ import annotations

import math

from paddle import Tensor, nn

from ssld.errors import RecipeError
from ssld.losses.base import Shape
from ssld.losses.functions import unit


def width(shape: Shape) -> int:
    """Count the numbers of one image."""
    return math.prod(shape)


class Embed(nn.Layer):
    """Apply a linear layer to what is flattened, [N, ...] -> [N, out], on request divided by the length of each row."""

    def __init__(self, shape: Shape, out: int, of_length_1: bool = False):
        super().__init__()
        self.linear, self._of_length_1 = nn.Linear(width(shape), out), of_length_1

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x.flatten(1))
        return unit(y) if self._of_length_1 else y


class Embeddings(nn.Layer):
    """Hold one embedding of the student and one of the teacher, both trained."""

    def __init__(self, student: Shape, teacher: Shape, out: int, of_length_1: bool):
        super().__init__()
        self.student, self.teacher = (Embed(shape, out, of_length_1) for shape in (student, teacher))


class EmbedMap(nn.Layer):
    """Apply a convolution without bias, of stride 1, and a batch norm: [N, C_s, H, W] -> [N, C_t, H, W]."""

    def __init__(self, student: Shape, teacher: Shape, kernel: int):
        super().__init__()
        if len(student) != 3 or len(teacher) != 3:
            raise RecipeError(f"shapes {student} and {teacher} are no maps (C, H, W); name other taps")
        self.conv = nn.Conv2D(student[0], teacher[0], kernel, padding=kernel // 2, bias_attr=False)
        self.bn = nn.BatchNorm2D(teacher[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Heads(nn.Layer):
    """Apply a linear layer, ReLU and a linear layer to each network's vectors, of its own width: [N, d] -> [N, d] each.

    with_teacher: False leaves the vectors of the teacher as they are.
    """

    def __init__(self, student: Shape, teacher: Shape, with_teacher: bool):
        super().__init__()
        self.student = _head(width(student))
        self.teacher = _head(width(teacher)) if with_teacher else nn.Flatten()


def _head(size: int) -> nn.Layer:
    return nn.Sequential(nn.Flatten(), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size))
