"""MobileNetV3: Searching for MobileNetV3. arXiv:1905.02244 (tables 1 and 2)

The published weights were trained without weight decay on BN, which the paper does not say;
a recipe states it (`optim`).
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.functional import hardsigmoid, relu

from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS, ConvBN, DepthwiseBN, rounded

Row = tuple[int, int, int, bool, type, int]


class SqueezeExcite(nn.Layer):
    """Weigh the channels by their global averages: [N, C, H, W] -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.squeeze = nn.Conv2D(width, width // 4, 1)
        self.excite = nn.Conv2D(width // 4, width, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        gate = self.excite(relu(self.squeeze(self.pool(x))))
        return x * hardsigmoid(gate, slope=0.2)  # the slope is 0.2, not the 1/6 of hard-swish and of the paper


class Block(nn.Layer):
    """Expand, filter each channel, weigh, project: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, kernel: int, inner: int, width: int, gated: bool, act: type, stride: int):
        super().__init__()
        # The first block expands nothing (same width in and inside); published weights hold its convolution anyway.
        self.expand = ConvBN(width_in, inner, 1, act=act)
        self.filter = DepthwiseBN(inner, kernel, stride, act)
        self.gate = SqueezeExcite(inner) if gated else nn.Identity()
        self.project = ConvBN(inner, width, 1)
        self.residual = stride == 1 and width_in == width

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = self.project(self.gate(self.filter(self.expand(x))))
        return x + y if self.residual else y


class MobileNetV3(Classifier):
    """Classify images.

    `stages`: rows (kernel, inner width, width, squeeze-excite, activation, stride), without `scale`.
    """

    def __init__(self, stages: Sequence[Sequence[Row]], last: int, scale: float, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in = rounded(16 * scale)
        self.stem, self.stages = ConvBN(3, width_in, 3, 2, act=nn.Hardswish), nn.LayerList()
        for rows in stages:
            blocks = []
            for kernel, inner, width, gated, act, stride in rows:
                block = Block(width_in, kernel, rounded(scale * inner), rounded(scale * width), gated, act, stride)
                blocks.append(block)
                width_in = rounded(scale * width)
            self.stages.append(nn.Sequential(*blocks))
        self.head = _head(width_in, rounded(scale * last), num_classes)


def _head(width_in: int, width: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        ("mix", ConvBN(width_in, width, 1, act=nn.Hardswish)),
        ("pool", nn.AdaptiveAvgPool2D(1)),
        ("widen", nn.Conv2D(width, 1280, 1, bias_attr=False)),  # 1280 at every scale, for small too (the paper: 1024)
        ("act", nn.Hardswish()),
        ("drop", nn.Dropout(0.2, mode="downscale_in_infer")),  # features are x 0.8 in eval: published weights expect it
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(1280, num_classes)),
    )


RE, HS = nn.ReLU, nn.Hardswish

LARGE = [
    [(3, 16, 16, False, RE, 1)],
    [(3, 64, 24, False, RE, 2), (3, 72, 24, False, RE, 1)],
    [(5, 72, 40, True, RE, 2), (5, 120, 40, True, RE, 1), (5, 120, 40, True, RE, 1)],
    [
        (3, 240, 80, False, HS, 2),
        (3, 200, 80, False, HS, 1),
        (3, 184, 80, False, HS, 1),
        (3, 184, 80, False, HS, 1),
        (3, 480, 112, True, HS, 1),
        (3, 672, 112, True, HS, 1),
    ],
    [(5, 672, 160, True, HS, 2), (5, 960, 160, True, HS, 1), (5, 960, 160, True, HS, 1)],
]

SMALL = [
    [(3, 16, 16, True, RE, 2)],
    [(3, 72, 24, False, RE, 2), (3, 88, 24, False, RE, 1)],
    [
        (5, 96, 40, True, HS, 2),
        (5, 240, 40, True, HS, 1),
        (5, 240, 40, True, HS, 1),
        (5, 120, 48, True, HS, 1),
        (5, 144, 48, True, HS, 1),
    ],
    [(5, 288, 96, True, HS, 2), (5, 576, 96, True, HS, 1), (5, 576, 96, True, HS, 1)],
]

_SCALES = {"x0_35": 0.35, "x0_5": 0.5, "x0_75": 0.75, "x1_0": 1.0, "x1_25": 1.25}
_LARGE = {f"MobileNetV3_large_{name}": dict(stages=LARGE, last=960, scale=scale) for name, scale in _SCALES.items()}
_SMALL = {f"MobileNetV3_small_{name}": dict(stages=SMALL, last=576, scale=scale) for name, scale in _SCALES.items()}


_PARTS = [  # names of 2.0 and of the later code
    (r"\.expand\.", ".expand_conv."),
    (r"\.filter\.", ".bottleneck_conv."),
    (r"\.gate\.squeeze", ".mid_se.conv1"),
    (r"\.gate\.excite", ".mid_se.conv2"),
    (r"\.project\.", ".linear_conv."),
    (r"^head\.mix", "last_second_conv"),
    (r"^head\.widen", "last_conv"),
]

Family(
    "mobilenet_v3",
    MobileNetV3,
    variants=_LARGE | _SMALL,
    rename=[(r"^stem", "conv"), (r"^stages\.\d\.\d+", "blocks.{n}"), *_PARTS, (r"^head\.fc", "fc")],
    rename_2_0=[(r"^stem", "conv1"), (r"^stages\.\d\.\d+", "conv{n:+2}"), *_PARTS, (r"^head\.fc", "out")],
    rename_static=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.\d+", "conv{n:+2}"),  # the stem is conv1
        (r"\.expand", "_expand"),
        (r"\.filter", "_depthwise"),
        (r"\.gate\.squeeze", "_se_1"),
        (r"\.gate\.excite", "_se_2"),
        (r"\.project", "_linear"),
        (r"^head\.mix", "conv_last"),
        (r"^head\.widen", "last_1x1_conv"),
        (r"^head\.fc", "fc"),
        *STATIC_ENDS,
    ],
)
