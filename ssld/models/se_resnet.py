"""SE-ResNet, SE-ResNeXt, SENet-154: Squeeze-and-excitation networks. arXiv:1709.01507

The vd networks have the stem and the shortcuts of ResNet-D: Bag of tricks for image classification with convolutional
neural networks. arXiv:1812.01187
"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn.functional import relu, sigmoid

from ssld.models.base import Family, Rename
from ssld.models.layers import STATIC_ENDS, deep_stem, pooled_projection, uniform_linear
from ssld.models.resnet import DEEP_STEM, NESTED, STATIC, Basic, Bottleneck, ResNet


class SqueezeExcite(nn.Layer):
    """Weigh the channels by their global averages: [N, C, H, W] -> the same shape."""

    def __init__(self, width: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.squeeze = uniform_linear(width, width // 16)
        self.excite = uniform_linear(width // 16, width)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        gate = self.excite(relu(self.squeeze(self.pool(x).flatten(1))))
        return x * sigmoid(gate).unsqueeze([2, 3])


class GatedBasic(Basic):
    """Apply two 3x3 convolutions, a gate and a shortcut: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, width: int, stride: int, shortcut: nn.Layer):
        super().__init__(width_in, width, stride, shortcut)
        self.body.add_sublayer("gate", SqueezeExcite(width))


class GatedBottleneck(Bottleneck):
    """Apply a 1x1, a 3x3, a 1x1, a gate and a shortcut: [N, width_in, H, W] -> [N, 4 width, H / stride, W / stride]."""

    def __init__(self, width_in: int, width: int, stride: int, shortcut: nn.Layer, **grouping: int):
        super().__init__(width_in, width, stride, shortcut, **grouping)
        self.body.add_sublayer("gate", SqueezeExcite(self.expansion * width))


_RESNEXT = dict(block=GatedBottleneck, group_width=4)
_VD = dict(stem=deep_stem, shortcut=pooled_projection)
_WIDE_VD = dict(stem_width=128, **_VD, **_RESNEXT)  # its stem is twice as wide as that of the other vd networks

_NESTED = [(r"\.body\.gate", ".scale"), (r"\.excite", ".excitation"), *NESTED]
_STATIC = [(r"\.squeeze", "_sqz"), (r"\.excite", "_exc"), (r"^head\.fc", "fc6")]


def _numbered(first: int) -> Rename:
    """Return the names of 1.x, where stage 1 has the number `first`.

    They are conv2_1_x1_weights, conv2_1_x1_bn_scale, fc2_1_sqz_weights and so on.
    """
    return [
        *_STATIC,
        (r"^stages\.(\d)\.(\d+)", f"conv{{0:+{first}}}_{{1:+1}}"),
        (r"^conv(\w+)\.body\.gate", "fc{0}"),
        (r"\.body\.(\d)", "_x{0:+1}"),
        (r"\.shortcut", "_prj"),
        *STATIC_ENDS,
    ]


Family(
    "se_resnet_vd",
    ResNet,
    variants={
        "SE_ResNet18_vd": dict(block=GatedBasic, depths=(2, 2, 2, 2), **_VD),
        "SE_ResNet34_vd": dict(block=GatedBasic, depths=(3, 4, 6, 3), **_VD),
        "SE_ResNet50_vd": dict(block=GatedBottleneck, depths=(3, 4, 6, 3), **_VD),
    },
    rename=[DEEP_STEM, *_NESTED],
    rename_static=[DEEP_STEM, *_STATIC, *STATIC, (r"^(\w+)\.body\.gate", "fc_{0}")],
)

Family(
    "se_resnext",
    ResNet,
    variants={
        "SE_ResNeXt50_32x4d": dict(depths=(3, 4, 6, 3), groups=32, **_RESNEXT),
        "SE_ResNeXt101_32x4d": dict(depths=(3, 4, 23, 3), groups=32, **_RESNEXT),
    },
    # 1.x has dropout before the last layer, and its weights expect features x 0.5 in eval. The later code has none.
    old={"SE_ResNeXt50_32x4d": dict(dropout=0.5), "SE_ResNeXt101_32x4d": dict(dropout=0.5)},
    rename=[(r"^stem\.0", "conv"), *_NESTED],
    rename_static=[(r"^stem\.0", "conv1"), *_numbered(2)],
)

Family(
    "se_resnext_vd",
    ResNet,
    variants={"SE_ResNeXt50_vd_32x4d": dict(depths=(3, 4, 6, 3), groups=32, **_WIDE_VD)},
    rename=[DEEP_STEM, *_NESTED],
    rename_static=[DEEP_STEM, *_numbered(2)],
)

Family(
    "se_resnext_vd",
    ResNet,
    variants={"SENet154_vd": dict(depths=(3, 8, 36, 3), groups=64, **_WIDE_VD)},
    # here they are x 0.8 in eval
    old={"SENet154_vd": dict(dropout=0.2)},
    rename=[DEEP_STEM, *_NESTED],
    rename_static=[DEEP_STEM, *_numbered(4)],  # as if its three stem convolutions were stages
)
