"""Res2Net: A new multi-scale backbone architecture. arXiv:1904.01169

The vd networks have the stem and the shortcuts of ResNet-D: Bag of tricks for image classification with convolutional
neural networks. arXiv:1812.01187
"""

from __future__ import annotations

import paddle
from paddle import nn

from ssld.models.base import Family, Rule
from ssld.models.layers import ConvBN, deep_stem, pooled_projection
from ssld.models.resnet import DEEP_STEM, NESTED, STATIC, Bottleneck, ResNet


class Scales(nn.Layer):
    """Convolve groups of channels, each seeing further than the one before: [N, C, H, W] -> [N, C, H / stride, W /
    stride].

    All groups but the last have a 3x3 convolution. At stride 1 a group is added to the output of the group before it,
    and the last one passes as it is. At stride 2 the groups are independent, and the last one is averaged. (The paper's
    code has that form in the first block of stage 1 too, whose stride is 1.)
    """

    def __init__(self, width: int, stride: int, groups: int):
        super().__init__()
        width //= groups
        self.convs = nn.LayerList([ConvBN(width, width, 3, stride, act=nn.ReLU) for _ in range(groups - 1)])
        self.chained = stride == 1
        # At the border it averages the pixels that are there.
        self.last = nn.Identity() if self.chained else nn.AvgPool2D(3, stride, padding=1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        *groups, last = x.split(len(self.convs) + 1, axis=1)
        outputs: list[paddle.Tensor] = []
        for n, conv in enumerate(self.convs):
            outputs.append(conv(groups[n] + outputs[-1] if self.chained and n else groups[n]))
        return paddle.concat([*outputs, self.last(last)], axis=1)


class ScalesBottleneck(Bottleneck):
    """Apply a bottleneck with `groups` scales of `group_width` channels (in stage 1) for its 3x3 convolution."""

    middle = Scales


_26W_4S = dict(block=ScalesBottleneck, groups=4, group_width=26)
_14W_8S = dict(block=ScalesBottleneck, groups=8, group_width=14)
_VD = dict(stem=deep_stem, shortcut=pooled_projection, **_26W_4S)

_SCALE: Rule = (r"\.body\.1\.convs\.(\d)", ".branch2b_{0:+1}")
_NESTED = [
    _SCALE,
    (r"^stages\.(\d)\.(\d+)\.branch", "bb_{0}_{1}.res{stage:+1}{letter}_branch"),
    *NESTED,
]
_STATIC = [_SCALE, (r"\.branch", "_branch"), *STATIC, (r"^head\.fc", "fc")]

Family(
    "res2net",
    ResNet,
    variants={
        "Res2Net50_26w_4s": dict(depths=(3, 4, 6, 3), **_26W_4S),
        "Res2Net50_14w_8s": dict(depths=(3, 4, 6, 3), **_14W_8S),
    },
    rename=[(r"^stem\.0", "conv1"), *_NESTED],
    rename_static=[(r"^stem\.0\.bn", "bn_conv1"), (r"^stem\.0", "conv1"), *_STATIC],
)

Family(
    "res2net",
    ResNet,
    variants={
        "Res2Net50_vd_26w_4s": dict(depths=(3, 4, 6, 3), **_VD),
        "Res2Net101_vd_26w_4s": dict(depths=(3, 4, 23, 3), **_VD),
        "Res2Net200_vd_26w_4s": dict(depths=(3, 12, 48, 3), **_VD),
    },
    rename=[DEEP_STEM, *_NESTED],
    rename_static=[DEEP_STEM, *_STATIC],
)
