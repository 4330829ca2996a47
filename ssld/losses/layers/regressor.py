"""The layer of a hint: it brings a map of the student to the shape of one of the teacher."""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn.functional import relu

from ssld.errors import RecipeError
from ssld.losses.base import Shape


class Regressor(nn.Layer):
    """A convolution, batch norm and ReLU: [N, C_s, H_s, W_s] -> [N, C_t, H_t, W_t], all maps being square.

    A map that is twice as large is convolved 3x3 at stride 2, one that is half as large is enlarged by a transposed 4x4
    convolution, and of other maps, which must not be smaller, a kernel of 1 + H_s - H_t without padding makes the size.
    """

    def __init__(self, student: Shape, teacher: Shape):
        super().__init__()
        if len(student) != 3 or len(teacher) != 3:
            raise RecipeError(f"loss hint: shapes {student} and {teacher} are no maps (C, H, W); name other taps")
        (width_in, size, _), (width, wanted, _) = student, teacher
        if size == 2 * wanted:
            self.conv: nn.Layer = nn.Conv2D(width_in, width, 3, 2, 1)
        elif wanted == 2 * size:
            self.conv = nn.Conv2DTranspose(width_in, width, 4, 2, 1)
        elif size >= wanted:
            self.conv = nn.Conv2D(width_in, width, 1 + size - wanted)
        else:
            what = f"a map of {size} pixels a side cannot become one of {wanted}"
            raise RecipeError(f"loss hint: {what}; name a tap of the student with a larger map")
        self.bn = nn.BatchNorm2D(width)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.bn(self.conv(x)))
