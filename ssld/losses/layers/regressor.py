"""Define layers that bring features of a student to the shape of those of a teacher."""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn.functional import relu

from ssld.errors import RecipeError
from ssld.losses.base import Shape


class Regressor(nn.Layer):
    """Apply a convolution, batch norm and ReLU: [N, C_s, H_s, W_s] -> [N, C_t, H_t, W_t], all maps being square.

    A map that is twice as large is convolved 3x3 at stride 2, one that is half as large is enlarged by a transposed 4x4
    convolution, and of other maps, which must not be smaller, a kernel of 1 + H_s - H_t without padding makes the size.
    activated: whether it ends in the ReLU. It raises RecipeError for shapes that it cannot bring together.
    """

    def __init__(self, student: Shape, teacher: Shape, activated: bool = True):
        super().__init__()
        (width_in, size), (width, target_size) = side(student), side(teacher)
        if size == 2 * target_size:
            self.conv: nn.Layer = nn.Conv2D(width_in, width, 3, 2, 1)
        elif target_size == 2 * size:
            self.conv = nn.Conv2DTranspose(width_in, width, 4, 2, 1)
        elif size >= target_size:
            self.conv = nn.Conv2D(width_in, width, 1 + size - target_size)
        else:
            what = f"a map of {size} pixels a side cannot become one of {target_size}"
            raise RecipeError(f"{what}; name a tap of the student with a larger map")
        self.bn, self.activated = nn.BatchNorm2D(width), activated

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return relu(x) if self.activated else x


class Bottleneck(nn.Sequential):
    """Apply 1x1, 3x3 and 1x1 convolutions, each with batch norm and ReLU: [N, width_in, H, W] -> [N, width, H, W].

    The inner maps have `inner` channels. normed: whether the last convolution too has batch norm and ReLU.
    """

    def __init__(self, width_in: int, inner: int, width: int, normed: bool = True):
        first = [*projection(width_in, inner).children(), nn.ReLU(), *projection(inner, inner, 3).children(), nn.ReLU()]
        end = [*projection(inner, width).children(), nn.ReLU()]
        super().__init__(*first, *(end if normed else end[:1]))


def projection(width_in: int, width: int, kernel: int = 1, **attributes: object) -> nn.Sequential:
    """Make a convolution without bias that keeps the size, and batch norm: [N, width_in, H, W] -> [N, width, H, W].

    attributes: further ones of the convolution, such as `weight_attr`, how its weights start.
    """
    padding = (kernel - 1) // 2
    conv = nn.Conv2D(width_in, width, kernel, padding=padding, bias_attr=False, **attributes)
    return nn.Sequential(conv, nn.BatchNorm2D(width))


def side(shape: Shape) -> tuple[int, int]:
    """Return (channels, pixels of a side) of a map's shape (C, H, W). It raises RecipeError for a vector's."""
    if len(shape) != 3:
        raise RecipeError(f"a tap of shape {shape} is no map (C, H, W); name another tap")
    return shape[0], shape[1]
