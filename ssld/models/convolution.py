"""Make convolutions train fast on a CPU where the map is small: a matrix product computes the same, and its gradient.

Paddle's CPU kernel for depthwise convolution is a plain loop: it takes 83 % of a MobileNetV3_small training step at 32
px. On a small map the same linear operation is one matrix a channel. Its kernel for other convolutions multiplies the
whole filter bank by each image alone: on a map of a few pixels that reads the filters anew for a few columns. All
images at once are one product. `benchmarks/convolution.py` measures both.
"""

from functools import lru_cache

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.base.dygraph.base import in_sot_simulation_mode
from paddle.nn.initializer import Initializer

FEW_PIXELS, SOME_IMAGES = 9, 8  # a convolution over all channels gains up to so small a map, from so large a batch on
LARGEST_MAP = 16 * 16  # pixels of the input map; the matrices of larger ones take too much memory
LOOP_COST = 18  # cost of the plain loop's multiply-add at stride 1, in those of a matrix product; measured 15 to 40


class Conv2D(nn.Conv2D):
    """Convolve with filters that see all channels (or those of their group): [N, C, H, W] -> [N, C', H', W'].

    Padding is (kernel - 1) // 2 on every side. Parameters, keys and exported graph are those of the `nn.Conv2D` that it
    is; eager execution on a CPU takes one product for all images where that is the faster way, equal up to rounding of
    float32.
    """

    def __init__(self, width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False):
        before = (kernel - 1) // 2
        super().__init__(width_in, width, kernel, stride, before, groups=groups, bias_attr=None if bias else False)
        self.kernel, self.stride, self.before = kernel, stride, before

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.multiply(x, self.weight) if self.product(x) else super().forward(x)

    def product(self, x: paddle.Tensor) -> bool:
        """Say whether this input takes the product."""
        if self.kernel == 1 or self._groups > 1 or self.bias is not None or not _eager_on_cpu(x):
            return False
        height, width = self._out(x)
        return height * width <= FEW_PIXELS and x.shape[0] >= SOME_IMAGES

    def _out(self, x: paddle.Tensor) -> tuple[int, int]:
        height, width = ((side + 2 * self.before - self.kernel) // self.stride + 1 for side in x.shape[2:])
        return height, width

    def multiply(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Return the product with these filters [C', C, kernel, kernel]: its own, or its own rounded to int8."""
        n, filters, (height, width) = x.shape[0], weight.shape[0], self._out(x)
        if x.shape[2] == x.shape[3] == 1:  # a lone pixel meets one tap
            tap = weight[:, :, self.before, self.before]
            return paddle.matmul(x.reshape([n, -1]), tap, transpose_y=True).reshape([n, filters, 1, 1])
        columns = F.unfold(x, self.kernel, strides=self.stride, paddings=self.before)  # [N, C kernel^2, H' W']
        columns = columns.transpose([1, 0, 2]).reshape([-1, n * height * width])
        out = weight.reshape([filters, -1]) @ columns
        return out.reshape([filters, n, -1]).transpose([1, 0, 2]).reshape([n, filters, height, width])


class DepthwiseConv2D(nn.Conv2D):
    """Convolve with one filter a channel: [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)].

    Padding is `before` pixels above and left, (kernel - 1) // 2 if not given, and kernel - 1 - before below and right.
    Parameters, keys and exported graph are those of the `nn.Conv2D` that it is; eager execution on a CPU takes the
    matrix route where that is the faster one, equal up to rounding of float32. `weights`: how they start (None:
    Paddle's way).
    """

    def __init__(
        self, width: int, kernel: int, stride: int = 1, before: int | None = None, weights: Initializer | None = None
    ):
        before = (kernel - 1) // 2 if before is None else before
        padding = [before, kernel - 1 - before] * 2
        super().__init__(width, width, kernel, stride, padding, groups=width, weight_attr=weights, bias_attr=False)
        self.kernel, self.stride, self.before = kernel, stride, before

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.multiply(x, self.weight) if self.product(x) else super().forward(x)

    def multiply(self, x: paddle.Tensor, weight: paddle.Tensor) -> paddle.Tensor:
        """Return the product with these filters [C, 1, kernel, kernel]: its own, or its own rounded to int8."""
        return _by_matrix(x, weight, self.kernel, self.stride, self.before)

    def product(self, x: paddle.Tensor) -> bool:
        """Say whether this input takes the matrix route."""
        return _eager_on_cpu(x) and self._gains(x.shape[0], x.shape[2] * x.shape[3])

    def _gains(self, n: int, pixels: int) -> bool:
        """Say whether it costs less to make the matrix and multiply n images by it than n loops over the taps.

        A loop's gradient visits every input pixel: with a stride its multiply-adds cost more.
        """
        taps = self.kernel**2
        return pixels <= LARGEST_MAP and pixels * (taps + n) <= LOOP_COST * self.stride * n * taps


def _eager_on_cpu(x: paddle.Tensor) -> bool:
    return not in_sot_simulation_mode() and paddle.in_dynamic_mode() and x.place.is_cpu_place()


def _by_matrix(x: paddle.Tensor, weight: paddle.Tensor, kernel: int, stride: int, before: int) -> paddle.Tensor:
    n, width, height_in, width_in = x.shape
    taps, (height_out, width_out) = _taps(height_in, width_in, kernel, stride, before)
    matrix = (weight.reshape([width, kernel * kernel]) @ taps).reshape([width, height_in * width_in, -1])
    columns = x.reshape([n, width, -1]).transpose([1, 0, 2])  # [C, N, H W]
    return paddle.bmm(columns, matrix).transpose([1, 0, 2]).reshape([n, width, height_out, width_out])


@lru_cache(maxsize=64)
def _taps(height: int, width: int, kernel: int, stride: int, before: int) -> tuple[paddle.Tensor, tuple[int, int]]:
    """Return which input pixel meets which output pixel under each tap of the filter.

    It is [kernel^2, (H W) (H' W')] of 0 and 1.
    """
    out = -(-height // stride), -(-width // stride)
    taps = np.zeros((kernel, kernel, height, width, *out), "float32")
    for i, j, u, v in np.ndindex(kernel, kernel, *out):
        row, column = u * stride + i - before, v * stride + j - before
        if 0 <= row < height and 0 <= column < width:
            taps[i, j, row, column, u, v] = 1
    return paddle.to_tensor(taps.reshape(kernel * kernel, -1)), out
