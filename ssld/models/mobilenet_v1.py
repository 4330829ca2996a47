"""MobileNetV1: MobileNets: Efficient convolutional neural networks for mobile vision applications. arXiv:1704.04861

Published training code starts the last layer and each depthwise filter at N(0, sqrt(2 / fan in)), so a filter of nine
taps at sqrt(2 / 9) however many channels there are.
"""

from __future__ import annotations

import re

from paddle import nn
from paddle.nn.initializer import KaimingNormal

from ssld.models.base import Classifier, Family, Place
from ssld.models.layers import STATIC_ENDS, ConvBN, DepthwiseBN, PooledLinear

STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))  # width, blocks, stride of the first


class Block(nn.Sequential):
    """Filter each channel, then mix channels: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__(
            ("filter", DepthwiseBN(width_in, 3, stride, nn.ReLU, KaimingNormal())),
            ("mix", ConvBN(width_in, width, 1, act=nn.ReLU)),
        )


class MobileNetV1(Classifier):
    """Classify images. `scale` multiplies every width of the paper's table 1."""

    def __init__(self, scale: float, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in = int(32 * scale)
        self.stem, self.stages = ConvBN(3, width_in, 3, 2, act=nn.ReLU), nn.LayerList()
        for full, depth, stride in STAGES:
            width = int(scale * full)
            rest = (Block(width, width, 1) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(Block(width_in, width, stride), *rest))
            width_in = width
        self.head = PooledLinear(width_in, num_classes, weights=KaimingNormal())


# Published groups end where the resolution falls (ours begin there): conv2_1, conv2_2, conv3_1 ... conv5_6, conv6.
_DEPTHS = {2: 2, 3: 2, 4: 2, 5: 6}
_UNITS = [*(f"conv{group}_{block + 1}" for group, depth in _DEPTHS.items() for block in range(depth)), "conv6"]


def _unit(_: re.Match[str], place: Place | None) -> str:
    assert place, "only blocks have this name"
    return _UNITS[place.n]


Family(
    "mobilenet_v1",
    MobileNetV1,
    variants={
        "MobileNetV1_x0_25": dict(scale=0.25),
        "MobileNetV1_x0_5": dict(scale=0.5),
        "MobileNetV1_x0_75": dict(scale=0.75),
        "MobileNetV1": dict(scale=1.0),
    },
    rename=[
        (r"^stem", "conv"),
        (r"^stages\.\d\.\d", "blocks.{n}"),
        (r"\.filter", ".depthwise_conv"),
        (r"\.mix", ".pointwise_conv"),
        (r"^head\.fc", "fc"),
    ],
    rename_2_0=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.\d", _unit),
        (r"\.filter", "._depthwise_conv"),
        (r"\.mix", "._pointwise_conv"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
        (r"^head\.fc", "out"),
    ],
    rename_static=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.\d", _unit),
        (r"\.filter", "_dw"),
        (r"\.mix", "_sep"),
        (r"^head\.fc", "fc7"),
        *STATIC_ENDS,
    ],
)
