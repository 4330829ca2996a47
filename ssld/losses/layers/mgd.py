"""Define the generator of masked generative distillation, see `losses/feature/mgd.py`."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ssld.losses.base import Shape
from ssld.losses.functions import match
from ssld.losses.layers.regressor import side
from ssld.random import LOSS, uniform


class Generator(nn.Layer):
    """Turn maps of student and teacher into (the generated map, the teacher's map), both at the smaller size."""

    def __init__(self, student: Shape, teacher: Shape, seed: int):
        super().__init__()
        self.seed, (width_in, _), (width, _) = seed, side(student), side(teacher)
        self.width = width
        self.align = nn.Identity() if width_in == width else nn.Conv2D(width_in, width, 1)
        self.generate = nn.Sequential(
            nn.Conv2D(width, width, 3, padding=1), nn.ReLU(), nn.Conv2D(width, width, 3, padding=1)
        )

    def draw(self, index: Tensor, step: int) -> Tensor:
        """Draw uniform numbers [N, C, 1, 1] for images int64 [N]; they follow from seed, step and image."""
        drawn = uniform(self.seed, LOSS, step, index.numpy(), self.width)
        return paddle.to_tensor(drawn, dtype=paddle.get_default_dtype()).unsqueeze([2, 3])

    def forward(self, student: Tensor, teacher: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generated map and the teacher's map. kept: [N, C, 1, 1], 1 for the channels that stay, else 0."""
        student, teacher = match(student, teacher)
        return self.generate(self.align(student) * kept), teacher
