"""Depthwise convolution that trains fast on a CPU.

Paddle's CPU kernel for depthwise convolution is a plain loop: it takes 83 % of a MobileNetV3_small training step at
32 px. On a small map the same linear operation is one matrix a channel, so a batched matrix product computes it (and
its gradient) with BLAS. `benchmarks/depthwise.py` measures both.
"""

from functools import lru_cache

import numpy as np
import paddle
from paddle import nn
from paddle.nn.initializer import Initializer

LARGEST_MAP = 16 * 16  # pixels of the input map; the matrices of larger ones take too much memory
LOOP_COST = 36  # one multiply-add of the plain loop, in multiply-adds of a matrix product; measured 22 to 78


class DepthwiseConv2D(nn.Conv2D):
    """One filter a channel: [N, C, H, W] -> [N, C, ceil(H / stride), ceil(W / stride)].

    Padding is `before` pixels above and left, (kernel - 1) // 2 if not given, and kernel - 1 - before below and right.
    Same parameters, keys and exported graph as the `nn.Conv2D` it is; eager execution on a CPU takes the matrix route
    where that is the faster one, equal up to rounding of float32. `weights`: how they start (None: Paddle's way).
    """

    def __init__(
        self, width: int, kernel: int, stride: int = 1, before: int | None = None, weights: Initializer | None = None
    ):
        before = (kernel - 1) // 2 if before is None else before
        padding = [before, kernel - 1 - before] * 2
        super().__init__(width, width, kernel, stride, padding, groups=width, weight_attr=weights, bias_attr=False)
        self.kernel, self.stride, self.before = kernel, stride, before

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if paddle.in_dynamic_mode() and x.place.is_cpu_place() and self._gains(x.shape[0], x.shape[2] * x.shape[3]):
            return _by_matrix(x, self.weight, self.kernel, self.stride, self.before)
        return super().forward(x)

    def _gains(self, n: int, pixels: int) -> bool:
        """Whether making the matrix and multiplying n images by it costs less than n loops over the taps."""
        taps = self.kernel**2
        return pixels <= LARGEST_MAP and pixels * (taps + n) <= LOOP_COST * n * taps


def _by_matrix(x: paddle.Tensor, weight: paddle.Tensor, kernel: int, stride: int, before: int) -> paddle.Tensor:
    n, width, height_in, width_in = x.shape
    taps, (height_out, width_out) = _taps(height_in, width_in, kernel, stride, before)
    matrix = (weight.reshape([width, kernel * kernel]) @ taps).reshape([width, height_in * width_in, -1])
    columns = x.reshape([n, width, -1]).transpose([1, 0, 2])  # [C, N, H W]
    return paddle.bmm(columns, matrix).transpose([1, 0, 2]).reshape([n, width, height_out, width_out])


@lru_cache(maxsize=64)
def _taps(height: int, width: int, kernel: int, stride: int, before: int) -> tuple[paddle.Tensor, tuple[int, int]]:
    """[kernel^2, (H W) (H' W')] of 0 and 1: which input pixel meets which output pixel under each tap of the filter."""
    out = -(-height // stride), -(-width // stride)
    taps = np.zeros((kernel, kernel, height, width, *out), "float32")
    for i, j, u, v in np.ndindex(kernel, kernel, *out):
        row, column = u * stride + i - before, v * stride + j - before
        if 0 <= row < height and 0 <= column < width:
            taps[i, j, row, column, u, v] = 1
    return paddle.to_tensor(taps.reshape(kernel * kernel, -1)), out
