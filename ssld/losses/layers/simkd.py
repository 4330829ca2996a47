"""Define the projector of SimKD, see `losses/feature/simkd.py`."""

from __future__ import annotations

from paddle import Tensor, nn

from ssld.losses.base import Shape
from ssld.losses.functions import match
from ssld.losses.layers.regressor import Bottleneck, side


class Projector(nn.Layer):
    """Bring maps of student and teacher to the smaller size, and the student's to the teacher's channels."""

    def __init__(self, student: Shape, teacher: Shape, factor: int):
        super().__init__()
        width = side(teacher)[0]
        self.project = Bottleneck(side(student)[0], max(1, width // factor), width)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        student, teacher = match(student, teacher)
        return self.project(student), teacher
