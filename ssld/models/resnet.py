"""ResNet: Deep residual learning for image recognition. arXiv:1512.03385"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paddle import nn

from ssld.models.base import Classifier, Family, Rename, Rule
from ssld.models.layers import ConvBN, PooledLinear
from ssld.models.taps import Summed


class Basic(Summed):
    """Apply two 3x3 convolutions and a shortcut: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    expansion = 1

    def __init__(self, width_in: int, width: int, stride: int, shortcut: nn.Layer):
        super().__init__()
        self.body = nn.Sequential(ConvBN(width_in, width, 3, stride, act=nn.ReLU), ConvBN(width, width, 3))
        self.shortcut = shortcut


class Bottleneck(Summed):
    """Apply a 1x1, a 3x3, a 1x1 and a shortcut: [N, width_in, H, W] -> [N, 4 width, H / stride, W / stride].

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
            self.middle(inner, stride, groups),
            ConvBN(inner, self.expansion * width, 1),
        )
        self.shortcut = shortcut

    @staticmethod
    def middle(width: int, stride: int, groups: int) -> nn.Layer:
        return ConvBN(width, width, 3, stride, groups, act=nn.ReLU)  # the paper strides in the 1x1 before it


def plain_stem(width: int) -> nn.Sequential:
    """Make the stem: [N, 3, H, W] -> [N, width, H / 4, W / 4]."""
    return nn.Sequential(ConvBN(3, width, 7, 2, act=nn.ReLU), nn.MaxPool2D(3, 2, 1))


def projection(width_in: int, width: int, stride: int) -> nn.Layer:
    """Make the shortcut of a block that changes the width or the resolution."""
    return ConvBN(width_in, width, 1, stride)


class ResNet(Classifier):
    """Classify images.

    `depths` counts the blocks of the four stages; descendants give another block, stem or shortcut.
    """

    def __init__(
        self,
        block: type[Basic] | type[Bottleneck],
        depths: Sequence[int],
        num_classes: int,
        in_size: int,
        stem: Callable[[int], nn.Layer] = plain_stem,
        stem_width: int = 64,
        shortcut: Callable[[int, int, int], nn.Layer] = projection,
        dropout: float = 0.0,
        **grouping: int,
    ):
        super().__init__(num_classes, in_size)
        self.stem, self.stages = stem(stem_width), nn.LayerList()
        width_in = stem_width
        for depth, width, stride in zip(depths, (64, 128, 256, 512), (1, 2, 2, 2), strict=True):
            width_out = width * block.expansion
            # Stage 1 projects even where nothing changes (18, 34 layers): published weights hold that convolution.
            first = block(width_in, width, stride, shortcut(width_in, width_out, stride), **grouping)
            rest = [block(width_out, width, 1, nn.Identity(), **grouping) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            width_in = width_out
        self.head = PooledLinear(width_in, num_classes, dropout)


LEGENDARY = [  # "legendary" is what the published code calls the networks that it names this way
    (r"^stages\.\d+\.\d+\.body\.(\d)", "blocks.{n}.conv{0}"),
    (r"^stages\.\d+\.\d+\.shortcut", "blocks.{n}.short"),
    (r"^head\.fc", "fc"),
]
NESTED = [  # ... and the networks that it never rewrote
    (r"^stages\.(\d)\.(\d+)", "bb_{0}_{1}"),
    (r"\.body\.(\d)", ".conv{0}"),
    (r"\.shortcut", ".short"),
    (r"\.conv\.", "._conv."),
    (r"\.bn\.", "._batch_norm."),
    (r"^head\.fc", "out"),
]
STATIC: Rename = [  # most 1.x names go back to those of Caffe's ResNet: res4f_branch2b_weights, bn4f_branch2b_scale
    (r"^stages\.\d\.\d+", "res{stage:+1}{letter}"),
    (r"\.body\.(\d)", lambda match, _: "_branch2" + "abc"[int(match[1])]),
    (r"\.shortcut", "_branch1"),
    (r"^\w{3}(\w+)\.bn\.", "bn{0}."),
    (r"^(bn\w+)\.weight", "{0}_scale"),
    (r"(\.conv)?\.weight", "_weights"),
    (r"\.bias", "_offset"),
    (r"\._", "_"),
]
NUMBERED_FC: Rule = (r"^head\.fc\.(w|b)\w+", "fc_0.{0}_0")  # 1.x, where nobody named it
DEEP_STEM: Rule = (r"^stem\.(\d)", "conv1_{0:+1}")

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
    rename_2_0=[(r"^stem\.0", "conv"), (r"^stages\.\d\.\d+", "res{stage:+1}{letter}"), *NESTED],
    rename_static=[(r"^stem\.0\.bn", "bn_conv1"), (r"^stem\.0", "conv1"), NUMBERED_FC, *STATIC],
)
