"""ShuffleNet for CIFAR, versions 1 and 2. arXiv:1707.01083, arXiv:1807.11164

Beside those for larger images their stem is a 1x1 convolution, without a stride and without a pool.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.functional import channel_shuffle

from ssld.models.base import Classifier, Family, Place, Rule
from ssld.models.cifar.weights import STATISTICS, start_as_torch
from ssld.models.layers import ConvBN, DepthwiseBN, PooledLinear
from ssld.models.shufflenet_v2 import Block, Reduction
from ssld.models.taps import Activated, last_norm

STEM, DEPTHS = 24, (4, 8, 4)  # channels of the stem, blocks of the three stages
GROUPS = 3


class Shuffle(nn.Layer):
    """Take one channel of each group in turn: [N, C, H, W] -> the same shape."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return channel_shuffle(x, GROUPS)


class GroupedBlock(Activated):
    """Mix within groups, shuffle, filter each channel, mix within groups, and add or append the input.

    [N, width_in, H, W] -> [N, width, H / stride, W / stride]. With stride 2 the averaged input is appended.
    """

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        self.appends = stride == 2
        own = width - width_in if self.appends else width
        inner = own // 4
        grouped = width_in != STEM  # the first block has too few channels for groups
        mix = ConvBN(width_in, inner, 1, groups=GROUPS if grouped else 1, act=nn.ReLU)
        filters = DepthwiseBN(inner, 3, stride, nn.ReLU)
        shuffle = [Shuffle()] if grouped else []
        self.body = nn.Sequential(mix, *shuffle, filters, ConvBN(inner, own, 1, groups=GROUPS))
        self.shortcut = nn.AvgPool2D(3, 2, 1, exclusive=False) if self.appends else nn.Identity()

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        parts = self.body(x), self.shortcut(x)
        return paddle.concat(parts, axis=1) if self.appends else parts[0] + parts[1]

    @property
    def norm(self) -> nn.Layer | None:
        """Return the batch norm of the body; none where the input is appended, since it makes a part of it only."""
        return None if self.appends else last_norm(self.body)


class CifarShuffleNetV1(Classifier):
    """Classify images. `widths` are those of the three stages."""

    def __init__(self, widths: Sequence[int], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in = STEM
        self.stem, self.stages = ConvBN(3, width_in, 1, act=nn.ReLU), nn.LayerList()
        for width, depth in zip(widths, DEPTHS, strict=True):
            rest = (GroupedBlock(width, width, 1) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(GroupedBlock(width_in, width, 2), *rest))
            width_in = width
        self.head = PooledLinear(width_in, num_classes)
        start_as_torch(self)


class CifarShuffleNetV2(Classifier):
    """Classify images. `widths` are those of the three stages, `last` that of the convolution before the average."""

    def __init__(self, widths: Sequence[int], last: int, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in = STEM
        self.stem, self.stages = ConvBN(3, width_in, 1, act=nn.ReLU), nn.LayerList()
        for width, depth in zip(widths, DEPTHS, strict=True):
            blocks = (Block(width, nn.ReLU) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(Reduction(width_in, width, nn.ReLU), *blocks))
            width_in = width
        classify = PooledLinear(last, num_classes)
        self.head = nn.Sequential(("mix", ConvBN(width_in, last, 1, act=nn.ReLU)), *classify.named_children())
        start_as_torch(self)


_STEM: list[Rule] = [(r"^stem\.(conv|bn)", "{0}1")]
_HEAD: list[Rule] = [(r"^head\.mix\.(conv|bn)", "{0}2"), (r"^head\.fc", "linear"), *STATISTICS]
_FIRST = [*_STEM, (r"^stages\.\d\.\d+", "layer{stage}.{block}")]

# With a shuffle between them, the convolutions of a body are its layers 0, 2 and 3; without one 0, 1 and 2.
_NUMBERS = {"0": 1, "1": 2, "2": 2, "3": 3}


def _number(match: re.Match[str], place: Place | None) -> str:
    assert place, "only blocks have this name"
    first = place.n == 0  # the block without a shuffle
    return f"{match[2]}{int(match[1]) + 1 if first else _NUMBERS[match[1]]}"


Family(
    "shufflenet_v1_cifar",
    CifarShuffleNetV1,
    variants={"ShuffleNetV1_cifar": dict(widths=(240, 480, 960))},
    rename=[*_FIRST, (r"body\.(\d)\.(conv|bn)", _number), *_HEAD],
)


def _branch(match: re.Match[str], place: Place | None) -> str:
    """The shortcut of a reduction is called convolutions 1 and 2, and its body 3 to 5; of other blocks 1 to 3."""
    assert place, "only blocks have this name"
    before = 2 if place.block == 0 and match[1] == "body" else 0
    return f"{match[3]}{int(match[2]) + 1 + before}"


Family(
    "shufflenet_v2_cifar",
    CifarShuffleNetV2,
    variants={"ShuffleNetV2_cifar": dict(widths=(116, 232, 464), last=1024)},
    rename=[*_FIRST, (r"(body|shortcut)\.(\d)\.(conv|bn)", _branch), *_HEAD],
)
