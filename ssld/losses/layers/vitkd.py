"""Define what ViTKD makes of a student's tokens, see `losses/feature/vitkd.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import paddle
from paddle import Tensor, nn

from ssld.errors import RecipeError
from ssld.losses.base import Shape
from ssld.random import LOSS, uniform


class Tokens(nn.Layer):
    """Apply linear layers, a trained token and two convolutions to student's and teacher's tokens of shapes (L, D)."""

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape], seed: int):
        super().__init__()
        for shape in (*student, *teacher):
            if len(shape) != 2:
                raise RecipeError(f"a tap of shape {shape} holds no tokens (L, D); name a layer of a transformer")
        if [shape[0] for shape in student] != [shape[0] for shape in teacher]:
            raise RecipeError(f"shapes {student} and {teacher} differ in their tokens; give both the same patches")
        self.tokens, width = teacher[-1]
        self.side, self.seed = math.isqrt(self.tokens), seed
        if self.side**2 != self.tokens:
            raise RecipeError(f"{self.tokens} tokens are no square map; name a tap without the class token")
        self.early = nn.LayerList(
            _aligned(of_student[1], of_teacher[1])
            for of_student, of_teacher in zip(student[:-1], teacher[:-1], strict=True)
        )
        self.last = _aligned(student[-1][1], width)
        self.token = self.create_parameter(
            [1, 1, width], dtype=paddle.get_default_dtype(), default_initializer=nn.initializer.Constant(0.0)
        )
        self.convs = nn.Sequential(
            nn.Conv2D(width, width, 3, padding=1), nn.ReLU(), nn.Conv2D(width, width, 3, padding=1)
        )

    def draw(self, index: Tensor, step: int) -> Tensor:
        """Draw uniform numbers [N, L] for images int64 [N]; they follow from seed, step and image."""
        return paddle.to_tensor(uniform(self.seed, LOSS, step, index.numpy(), self.tokens))

    def mask(self, numbers: Tensor, share: float) -> Tensor:
        """Return [N, L, 1], true for the masked tokens: all but the L (1 - share) with the smallest numbers."""
        count = int(self.tokens * (1 - share))
        ranks = numbers.argsort(axis=1).argsort(axis=1)
        return (ranks >= count).unsqueeze(-1)

    def mimic(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Return the tokens of the early layers, [N, L, D] each, with the teacher's widths."""
        return [layer(x) for layer, x in zip(self.early, tokens, strict=True)]

    def generate(self, tokens: Tensor, masked: Tensor) -> Tensor:
        """Generate anew those tokens [N, L, D] of the last layer that are masked (1; the others are 0)."""
        x = self.last(tokens)
        x = x * (1 - masked) + self.token * masked
        n, _, width = x.shape
        square = x.transpose([0, 2, 1]).reshape([n, width, self.side, self.side])
        return self.convs(square).flatten(2).transpose([0, 2, 1])


def _aligned(width_in: int, width: int) -> nn.Layer:
    return nn.Identity() if width_in == width else nn.Linear(width_in, width)
