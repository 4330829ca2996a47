"""Define what three or more series share: blocks, and endings of published names."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import nn
from paddle.nn.initializer import Initializer, Uniform

from ssld.models.base import Rule
from ssld.models.convolution import Conv2D, DepthwiseConv2D


def rounded(width: float, step: int = 8) -> int:
    """Return the nearest multiple of `step`, at least `step`, and not more than a tenth below `width`."""
    nearest = max(step, int(width + step / 2) // step * step)
    return nearest + step if nearest < 0.9 * width else nearest


class BatchNorm2D(nn.BatchNorm2D):
    """Normalise as Paddle's layer does, without its checks of the input: a convolution has made them.

    The checks take a fifth of a call on a small map.
    """

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        running = self._mean, self._variance
        return F.batch_norm(x, *running, self.weight, self.bias, self.training, self._momentum, self._epsilon)


class ConvBN(nn.Sequential):
    """Convolve without bias, apply BN, activate: [N, width_in, H, W] -> [N, width, ceil(H / stride), ceil(W / stride)].

    BN keeps Paddle's momentum 0.9 and epsilon 1e-5; the published statistics were gathered with them. BN takes a bias
    away again; `bias` is for published weights that hold one all the same.
    """

    def __init__(
        self,
        width_in: int,
        width: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        act: type | None = None,
        bias: bool = False,
    ):
        parts = [("conv", Conv2D(width_in, width, kernel, stride, groups, bias)), ("bn", BatchNorm2D(width))]
        super().__init__(*parts, *([("act", act())] if act else []))


class DepthwiseBN(nn.Sequential):
    """Filter each channel, apply BN, activate: [N, width, H, W] -> [N, width, ceil(H / stride), ceil(W / stride)]."""

    def __init__(
        self, width: int, kernel: int, stride: int = 1, act: type | None = None, weights: Initializer | None = None
    ):
        parts = [("conv", DepthwiseConv2D(width, kernel, stride, weights=weights)), ("bn", BatchNorm2D(width))]
        super().__init__(*parts, *([("act", act())] if act else []))


def deep_stem(width: int) -> nn.Sequential:
    """Make three 3x3 convolutions instead of one 7x7: [N, 3, H, W] -> [N, width, H / 4, W / 4]."""
    widths = (3, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)
    convs = [ConvBN(width_in, width, 3, stride, act=nn.ReLU) for width_in, width, stride in widths]
    return nn.Sequential(*convs, nn.MaxPool2D(3, 2, 1))


def pooled_projection(width_in: int, width: int, stride: int) -> nn.Layer:
    """Average before projecting, so that no pixel of a shortcut is dropped."""
    project = ConvBN(width_in, width, 1)
    if stride == 1:
        return project
    # With SAME a map of odd size keeps its last row and column, averaged over the pixels that are there.
    pool = nn.AvgPool2D(2, stride, padding="SAME")
    return nn.Sequential(("pool", pool), *project.named_children())


def uniform_linear(width_in: int, width: int) -> nn.Linear:
    """Make a linear layer [N, width_in] -> [N, width]. Weights start at U(+-1/sqrt(width_in)), the bias at 0."""
    bound = width_in**-0.5
    return nn.Linear(width_in, width, weight_attr=Uniform(-bound, bound))


class PooledLinear(nn.Sequential):
    """Apply a global average, dropout if any, and a linear layer: [N, width, H, W] -> [N, num_classes].

    Its weights start as `weights` says, by default as those of `uniform_linear`.
    """

    def __init__(self, width: int, num_classes: int, dropout: float = 0.0, weights: Initializer | None = None):
        # Features are x (1 - dropout) in eval: published weights expect it.
        drop = [("drop", nn.Dropout(dropout, mode="downscale_in_infer"))] if dropout else []
        fc = nn.Linear(width, num_classes, weights) if weights else uniform_linear(width, num_classes)
        super().__init__(("pool", nn.AdaptiveAvgPool2D(1)), ("flatten", nn.Flatten()), *drop, ("fc", fc))


# How 1.x mostly ends the name of a variable; these rules come last, when all before the ending is renamed.
STATIC_ENDS: list[Rule] = [
    (r"\.bn\.weight", "_bn_scale"),
    (r"\.bn\.bias", "_bn_offset"),
    (r"\.bn\._", "_bn_"),  # _mean, _variance
    (r"(?:\.conv)?\.weight", "_weights"),
    (r"\.bias", "_offset"),
]
