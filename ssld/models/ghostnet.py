"""GhostNet: More features from cheap operations. arXiv:1911.11907 (table 1)

Published training code starts each depthwise filter at N(0, sqrt(2 / taps)) however many channels there are, linear
layers at U(+-1 / sqrt(width in)), and trains BN without weight decay; a recipe states the latter (`optim`).
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn.functional import relu
from paddle.nn.initializer import KaimingNormal

from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS, ConvBN, DepthwiseBN, rounded, uniform_linear

# The rows are: kernel of strides and projections, inner width, width, squeeze-excite, stride.
STAGES = [
    [(3, 16, 16, False, 1)],
    [(3, 48, 24, False, 2), (3, 72, 24, False, 1)],
    [(5, 72, 40, True, 2), (5, 120, 40, True, 1)],
    [
        (3, 240, 80, False, 2),
        (3, 200, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 184, 80, False, 1),
        (3, 480, 112, True, 1),
        (3, 672, 112, True, 1),
    ],
    [
        (5, 672, 160, True, 2),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
        (5, 960, 160, False, 1),
        (5, 960, 160, True, 1),
    ],
]


class SqueezeExcite(nn.Layer):
    """Weigh the channels by their global averages: [N, C, H, W] -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.squeeze = uniform_linear(width, width // 4)
        self.excite = uniform_linear(width // 4, width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        gate = self.excite(relu(self.squeeze(self.pool(x).flatten(1))))
        return x * gate.clip(0, 1).unsqueeze([2, 3])  # it is clipped, neither shifted nor scaled


class Ghost(nn.Layer):
    """Make half of the channels by a 1x1, their ghosts by a filter each: [N, width_in, H, W] -> [N, width, H, W]."""

    def __init__(self, width_in: int, width: int, act: type | None = None):
        super().__init__()
        self.primary = ConvBN(width_in, width // 2, 1, act=act)
        self.cheap = DepthwiseBN(width // 2, 3, 1, act, KaimingNormal())

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.primary(x)
        return paddle.concat([x, self.cheap(x)], axis=1)


class Block(nn.Layer):
    """Expand, reduce, weigh, project: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, kernel: int, inner: int, width: int, gated: bool, stride: int):
        super().__init__()
        self.expand = Ghost(width_in, inner, nn.ReLU)
        self.filter = DepthwiseBN(inner, kernel, stride, weights=KaimingNormal()) if stride > 1 else nn.Identity()
        self.gate = SqueezeExcite(inner) if gated else nn.Identity()
        self.project = Ghost(inner, width)
        self.shortcut: nn.Layer = nn.Identity()
        if stride > 1 or width_in != width:
            separate = DepthwiseBN(width_in, kernel, stride, weights=KaimingNormal())
            self.shortcut = nn.Sequential(separate, ConvBN(width_in, width, 1))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.project(self.gate(self.filter(self.expand(x)))) + self.shortcut(x)


class GhostNet(Classifier):
    """Classify images. `scale` multiplies every width but the last; `dropout` is the mode of nn.Dropout."""

    def __init__(self, scale: float, num_classes: int, in_size: int, dropout: str = "upscale_in_train"):
        super().__init__(num_classes, in_size)
        width_in = rounded(16 * scale, 4)
        self.stem, self.stages = ConvBN(3, width_in, 3, 2, act=nn.ReLU), nn.LayerList()
        for rows in STAGES:
            blocks = []
            for kernel, inner, width, gated, stride in rows:
                inner, width = rounded(scale * inner, 4), rounded(scale * width, 4)
                blocks.append(Block(width_in, kernel, inner, width, gated, stride))
                width_in = width
            self.stages.append(nn.Sequential(*blocks))
        self.head = nn.Sequential(
            ("mix", ConvBN(width_in, inner, 1, act=nn.ReLU)),  # it is as wide as the last block inside
            ("pool", nn.AdaptiveAvgPool2D(1)),
            ("widen", ConvBN(inner, 1280, 1, act=nn.ReLU)),
            ("drop", nn.Dropout(0.2, mode=dropout)),
            ("flatten", nn.Flatten()),
            ("fc", uniform_linear(1280, num_classes)),
        )


_SCALES = {"GhostNet_x0_5": 0.5, "GhostNet_x1_0": 1.0, "GhostNet_x1_3": 1.3}

Family(
    "ghostnet",
    GhostNet,
    variants={name: dict(scale=scale) for name, scale in _SCALES.items()},
    old={name: dict(dropout="downscale_in_infer") for name in _SCALES},  # features are x 0.8 in eval
    rename=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.\d", "_ghostbottleneck_{n}"),
        (r"\.expand", ".ghost_module_1"),
        (r"\.filter", ".depthwise_conv"),
        (r"\.gate\.squeeze", ".se_block.squeeze"),
        (r"\.gate\.excite", ".se_block.excitation"),
        (r"\.project", ".ghost_module_2"),
        (r"\.primary", ".primary_conv"),
        (r"\.cheap", ".cheap_operation"),
        (r"\.shortcut\.0", ".shortcut_depthwise"),
        (r"\.shortcut\.1", ".shortcut_conv"),
        (r"^head\.mix", "conv_last"),
        (r"^head\.widen", "fc_0"),
        (r"^head\.fc", "fc_1"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
    ],
    rename_static=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.\d", "_ghostbottleneck_{n}"),
        (r"\.expand", "_ghost_module_1"),
        (r"\.filter", "_depthwise_depthwise"),
        (r"\.gate\.squeeze", "_se_1"),
        (r"\.gate\.excite", "_se_2"),
        (r"\.project", "_ghost_module_2"),
        (r"\.primary", "_primary_conv"),
        (r"\.cheap", "_cheap_operation"),
        (r"\.shortcut\.0", "_shortcut_depthwise_depthwise"),
        (r"\.shortcut\.1", "_shortcut_conv"),
        (r"^head\.mix", "conv_last"),
        (r"^head\.widen", "fc_0"),
        (r"^head\.fc", "fc_1"),
        (r"\.bn\._variance", "_variance"),  # without `_bn`, unlike the other three
        *STATIC_ENDS,
    ],
)
