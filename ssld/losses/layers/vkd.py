"""Define the orthogonal projection of VkD, see `losses/feature/vkd.py`."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn


class Orthogonal(nn.Layer):
    """Project [N, width_in] -> [N, width] by a matrix with orthonormal columns, or rows where those are fewer.

    The trained matrix `free` has the shape [larger width, smaller width].
    """

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.widens, shape = width >= width_in, sorted((width_in, width), reverse=True)
        start = nn.initializer.Orthogonal()
        self.free = self.create_parameter(shape, dtype=paddle.get_default_dtype(), default_initializer=start)

    def matrix(self) -> Tensor:
        """Return [larger width, smaller width], with orthonormal columns."""
        factor = paddle.linalg.cholesky(self.free.T @ self.free)
        return paddle.linalg.triangular_solve(factor, self.free.T, upper=False).T

    def forward(self, x: Tensor) -> Tensor:
        matrix = self.matrix()
        return x @ (matrix.T if self.widens else matrix)
