"""ResNet: Deep residual learning for image recognition. arXiv:1512.03385"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import paddle
from paddle import nn
from paddle.nn.functional import relu

from ssld.models.base import Classifier, Family, Place, Rule
from ssld.models.layers import ConvBN, PooledLinear


class Basic(nn.Layer):
    """Two 3x3 convolutions and a shortcut: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    expansion = 1

    def __init__(self, width_in: int, width: int, stride: int, shortcut: nn.Layer):
        super().__init__()
        self.body = nn.Sequential(ConvBN(width_in, width, 3, stride, act=nn.ReLU), ConvBN(width, width, 3))
        self.shortcut = shortcut

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return relu(self.body(x) + self.shortcut(x))


class Bottleneck(nn.Layer):
    """1x1, 3x3, 1x1 and a shortcut: [N, width_in, H, W] -> [N, 4 width, H / stride, W / stride].

    The 3x3 has `groups` groups of `group_width` channels in the first stage, and twice as many channels with every
    further stage.
    """

    expansion = 4

    def __init__(
        self, width_in: int, width: int, stride: int, shortcut: nn.Layer, groups: int = 1, group_width: int = 64
    ):
        super().__init__()
        inner = groups * group_width * width // 64
        self.body = nn.Sequential(
            ConvBN(width_in, inner, 1, act=nn.ReLU),
            ConvBN(inner, inner, 3, stride, groups, act=nn.ReLU),  # the paper strides in the 1x1 before it
            ConvBN(inner, self.expansion * width, 1),
        )
        self.shortcut = shortcut

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return relu(self.body(x) + self.shortcut(x))


def plain_stem() -> nn.Sequential:
    """[N, 3, H, W] -> [N, 64, H / 4, W / 4]"""
    return nn.Sequential(ConvBN(3, 64, 7, 2, act=nn.ReLU), nn.MaxPool2D(3, 2, 1))


def projection(width_in: int, width: int, stride: int) -> nn.Layer:
    """The shortcut of a block that changes the width or the resolution."""
    return ConvBN(width_in, width, 1, stride)


class ResNet(Classifier):
    """`depths` counts the blocks of the four stages; descendants give another stem, projection or grouping."""

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        depths: Sequence[int],
        num_classes: int,
        in_size: int,
        stem: Callable[[], nn.Layer] = plain_stem,
        shortcut: Callable[[int, int, int], nn.Layer] = projection,
        **grouping: int,
    ):
        super().__init__(num_classes, in_size)
        self.stem, self.stages = stem(), nn.LayerList()
        width_in = 64
        for depth, width, stride in zip(depths, (64, 128, 256, 512), (1, 2, 2, 2), strict=True):
            width_out = width * block.expansion
            # Stage 1 projects even where nothing changes (18, 34 layers): published weights hold that convolution.
            first = block(width_in, width, stride, shortcut(width_in, width_out, stride), **grouping)
            rest = [block(width_out, width, 1, nn.Identity(), **grouping) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            width_in = width_out
        self.head = PooledLinear(width_in, num_classes)


def block_name(_: re.Match[str], place: Place | None) -> str:
    """res2a, res2b ...; the long third stage of 101 and more layers counts its blocks instead: res4a, res4b1, res4b2"""
    assert place, "only blocks have this name"
    counts = place.block and place.stage == 3 and place.blocks > 6
    return f"res{place.stage + 1}" + (f"b{place.block}" if counts else place.letter)


# Names of blocks and of the last layer that this series shares with its relatives, which put rules for the stem first.
LEGENDARY = [  # the later code, which calls the networks that it names this way "legendary"
    (r"^stages\.\d+\.\d+\.body\.(\d)", "blocks.{n}.conv{0}"),
    (r"^stages\.\d+\.\d+\.shortcut", "blocks.{n}.short"),
    (r"^head\.fc", "fc"),
]
DYGRAPH: list[Rule] = [  # 2.0, and in most relatives the later code too
    (r"^stages\.(\d)\.(\d+)", "bb_{0}_{1}"),
    (r"\.body\.", ".conv"),
    (r"\.shortcut", ".short"),
    (r"\.conv\.", "._conv."),
    (r"\.bn\.", "._batch_norm."),
    (r"^head\.fc", "out"),
]
STATIC: list[Rule] = [  # 1.x
    (r"^stages\.\d+\.\d+", block_name),
    (r"\.body\.(\d)", lambda found, _: "_branch2" + "abc"[int(found[1])]),
    (r"\.shortcut", "_branch1"),
    (r"^conv1\.bn", "bn_conv1.bn"),
    (r"^(?:res|con)(.+)\.bn\.", "bn{0}.bn."),  # BN has the name of its convolution, first three letters cut off
    (r"\.conv\.weight", "_weights"),
    (r"\.bn\.weight", "_scale"),
    (r"\.bn\.bias", "_offset"),
    (r"\.bn\._", "_"),  # _mean, _variance
    (r"^head\.fc\.(w|b)\w+", "fc_0.{0}_0"),
]

Family(
    "resnet",
    ResNet,
    variants={
        "ResNet18": dict(block=Basic, depths=(2, 2, 2, 2)),
        "ResNet34": dict(block=Basic, depths=(3, 4, 6, 3)),
        "ResNet50": dict(block=Bottleneck, depths=(3, 4, 6, 3)),
        "ResNet101": dict(block=Bottleneck, depths=(3, 4, 23, 3)),
        "ResNet152": dict(block=Bottleneck, depths=(3, 8, 36, 3)),
    },
    rename=LEGENDARY,
    rename_2_0=[(r"^stem\.0", "conv"), (r"^stages\.\d+\.\d+", block_name), *DYGRAPH],
    rename_static=[(r"^stem\.0", "conv1"), *STATIC],
)
