"""MobileNetV2 for CIFAR, at half its widths: MobileNetV2: Inverted residuals and linear bottlenecks. arXiv:1801.04381

It is the form that the literature of distillation compares with: the stem halves the resolution, the second group of
blocks does not, every block expands (the first one by 1), and activations are ReLU.
"""

from __future__ import annotations

import re

import paddle
from paddle import nn

from ssld.models.base import Classifier, Family, Place, Rule
from ssld.models.cifar.weights import STATISTICS, start_from_outputs
from ssld.models.layers import ConvBN, DepthwiseBN, PooledLinear

# Expansion, width, blocks, stride of the first; a stage is what lies between two feature points of the literature.
STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 1)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)
LAST = 1280  # widths below 1 leave the last convolution as it is


class Block(nn.Layer):
    """Widen, filter each channel, narrow without an activation: [N, width_in, H, W] -> [N, width, H / stride, ...]."""

    def __init__(self, width_in: int, width: int, stride: int, expansion: int):
        super().__init__()
        inner = width_in * expansion
        self.adds = stride == 1 and width_in == width
        self.body = nn.Sequential(
            ConvBN(width_in, inner, 1, act=nn.ReLU), DepthwiseBN(inner, 3, stride, nn.ReLU), ConvBN(inner, width, 1)
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.body(x) if self.adds else self.body(x)


class CifarMobileNetV2(Classifier):
    """Classify images. `scale` multiplies the widths of the paper's table 2, but not that of the last convolution."""

    def __init__(self, scale: float, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in = int(32 * scale)
        self.stem, self.stages = ConvBN(3, width_in, 3, 2, act=nn.ReLU), nn.LayerList()
        for groups in STAGES:
            blocks = []
            for expansion, full, depth, stride in groups:
                width = int(full * scale)
                for number in range(depth):
                    blocks.append(Block(width_in, width, 1 if number else stride, expansion))
                    width_in = width
            self.stages.append(nn.Sequential(*blocks))
        classify = PooledLinear(LAST, num_classes)
        self.head = nn.Sequential(("mix", ConvBN(width_in, LAST, 1, act=nn.ReLU)), *classify.named_children())
        start_from_outputs(self, linear=0.01)


_UNITS = [(group, block) for group, (_, _, depth, _) in enumerate(sum(STAGES, ())) for block in range(depth)]


def _unit(_: re.Match[str], place: Place | None) -> str:
    assert place, "only blocks have this name"
    group, block = _UNITS[place.n]
    return f"blocks.{group}.{block}.conv"


_NAMES: list[Rule] = [
    (r"^stem\.conv", "conv1.0"),
    (r"^stem\.bn", "conv1.1"),
    (r"^stages\.\d\.\d+\.body", _unit),
    (r"\.conv\.(\d)\.conv\.", lambda match, _: f".conv.{3 * int(match[1])}."),
    (r"\.conv\.(\d)\.bn\.", lambda match, _: f".conv.{3 * int(match[1]) + 1}."),
    (r"^head\.mix\.conv", "conv2.0"),
    (r"^head\.mix\.bn", "conv2.1"),
    (r"^head\.fc", "classifier.0"),
]

Family(
    "mobilenet_v2_cifar",
    CifarMobileNetV2,
    variants={"MobileNetV2_cifar_x0_5": dict(scale=0.5)},
    rename=[*_NAMES, *STATISTICS],
)
