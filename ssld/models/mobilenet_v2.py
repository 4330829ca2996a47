"""MobileNetV2: Inverted residuals and linear bottlenecks. arXiv:1801.04381

Its block is the one that MobileNetV3 took over and gave squeeze-excite and other activations. Published training code
starts the last layer at Xavier's uniform weights.
"""

from __future__ import annotations

import re

from paddle import nn
from paddle.nn.initializer import XavierUniform

from ssld.models.base import Classifier, Family, Place
from ssld.models.layers import STATIC_ENDS, ConvBN, PooledLinear
from ssld.models.mobilenet_v3 import Block

# The rows are those of the paper's table 2: expansion, width, blocks, stride of the first block.
STAGES = [
    [(1, 16, 1, 1)],
    [(6, 24, 2, 2)],
    [(6, 32, 3, 2)],
    [(6, 64, 4, 2), (6, 96, 3, 1)],
    [(6, 160, 3, 2), (6, 320, 1, 1)],
]


class MobileNetV2(Classifier):
    """Classify images.

    `scale` multiplies every width, cut to a whole number (most other code rounds to multiples of 8).

    The last convolution does not become narrower than 1280 channels.
    """

    def __init__(self, scale: float, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in, last = int(32 * scale), int(1280 * max(1.0, scale))
        self.stem, self.stages = ConvBN(3, width_in, 3, 2, act=nn.ReLU6), nn.LayerList()
        for rows in STAGES:
            blocks = []
            for expansion, full, depth, first in rows:
                for stride in (first, *[1] * (depth - 1)):
                    width = int(scale * full)
                    blocks.append(Block(width_in, 3, expansion * width_in, width, False, nn.ReLU6, stride))
                    width_in = width
            self.stages.append(nn.Sequential(*blocks))
        classify = PooledLinear(last, num_classes, weights=XavierUniform())
        self.head = nn.Sequential(("mix", ConvBN(width_in, last, 1, act=nn.ReLU6)), *classify.named_children())


# Published groups are the rows of the table: conv2_1, conv3_1, conv3_2 ... conv8_1.
_DEPTHS = [depth for rows in STAGES for _, _, depth, _ in rows]
_UNITS = [f"conv{group}_{block + 1}" for group, depth in enumerate(_DEPTHS, start=2) for block in range(depth)]


def _unit(_: re.Match[str], place: Place | None) -> str:
    assert place, "only blocks have this name"
    return _UNITS[place.n]


Family(
    "mobilenet_v2",
    MobileNetV2,
    variants={
        "MobileNetV2_x0_25": dict(scale=0.25),
        "MobileNetV2_x0_5": dict(scale=0.5),
        "MobileNetV2_x0_75": dict(scale=0.75),
        "MobileNetV2": dict(scale=1.0),
        "MobileNetV2_x1_5": dict(scale=1.5),
        "MobileNetV2_x2_0": dict(scale=2.0),
    },
    rename=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.\d", _unit),
        (r"^(conv\d)_1\.", "{0}._first_block."),
        (r"^(conv\d)(_\d)", "{0}.{0}{1}"),
        (r"\.expand", "._expand_conv"),
        (r"\.filter", "._bottleneck_conv"),
        (r"\.project", "._linear_conv"),
        (r"^head\.mix", "conv9"),
        (r"^head\.fc", "out"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
    ],
    rename_static=[
        (r"^stem", "conv1_1"),
        (r"^stages\.\d\.\d", _unit),
        (r"\.expand", "_expand"),
        (r"\.filter", "_dwise"),
        (r"\.project", "_linear"),
        (r"^head\.mix", "conv9"),
        (r"^head\.fc", "fc10"),
        *STATIC_ENDS,
    ],
)
