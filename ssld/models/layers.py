"""Blocks that three or more series share."""

from __future__ import annotations

from paddle import nn
from paddle.nn.initializer import Uniform


class ConvBN(nn.Sequential):
    """Convolution without bias, BN, activation: [N, width_in, H, W] -> [N, width, ceil(H / stride), ceil(W / stride)].

    BN keeps Paddle's momentum 0.9 and epsilon 1e-5; the published statistics were gathered with them.
    """

    def __init__(
        self, width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1, act: type | None = None
    ):
        padding = (kernel - 1) // 2
        conv = nn.Conv2D(width_in, width, kernel, stride, padding, groups=groups, bias_attr=False)
        parts = [("conv", conv), ("bn", nn.BatchNorm2D(width))]
        super().__init__(*parts, *([("act", act())] if act else []))


class PooledLinear(nn.Sequential):
    """Global average and a linear layer: [N, width, H, W] -> [N, num_classes]. Weights start at U(+-1/sqrt(width))."""

    def __init__(self, width: int, num_classes: int):
        bound = width**-0.5
        fc = nn.Linear(width, num_classes, weight_attr=Uniform(-bound, bound))
        super().__init__(("pool", nn.AdaptiveAvgPool2D(1)), ("flatten", nn.Flatten()), ("fc", fc))
