"""Xception: Deep learning with depthwise separable convolutions. arXiv:1610.02357

The variants have the depths of DeepLab (arXiv:1802.02611). Their separable convolution is the pointwise one, then the
depthwise one, each with BN: the other way round than in the paper and in `xception_deeplab`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import paddle
from paddle import nn
from paddle.nn.functional import relu

from ssld.models.base import Classifier, Family
from ssld.models.layers import ConvBN, DepthwiseBN, PooledLinear


class Block(nn.Layer):
    """Apply every layer of `body` behind a ReLU, then `pool`, and add the shortcut: [N, C, H, W] -> [N, C', H', W']."""

    def __init__(self, body: Sequence[nn.Layer], shortcut: nn.Layer, pool: nn.Layer):
        super().__init__()
        self.body, self.shortcut, self.pool = nn.LayerList(body), shortcut, pool

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        y = x
        for conv in self.body:
            y = relu(y)  # this statement frees the map before the convolution allocates
            y = conv(y)
        return self.pool(y) + self.shortcut(x)


def separable(width_in: int, width: int) -> nn.Sequential:
    """Mix the channels, then filter each: [N, width_in, H, W] -> [N, width, H, W]."""
    return nn.Sequential(("point", ConvBN(width_in, width, 1)), ("filter", DepthwiseBN(width, 3)))


def pooled(width_in: int, widths: Sequence[int], stride: int) -> Block:
    """Make a block that pools and projects (without BN), or does neither where the shape stays."""
    body, width = [separable(*pair) for pair in pairwise([width_in, *widths])], widths[-1]
    if (stride, width) == (1, width_in):
        return Block(body, nn.Identity(), nn.Identity())
    return Block(body, nn.Conv2D(width_in, width, 1, stride, bias_attr=False), nn.MaxPool2D(3, stride, 1))


def plain_stem() -> nn.Sequential:
    """Make the stem: [N, 3, H, W] -> [N, 64, H / 2, W / 2]."""
    return nn.Sequential(ConvBN(3, 32, 3, 2, act=nn.ReLU), ConvBN(32, 64, 3, act=nn.ReLU))


def plain_tail() -> nn.Sequential:
    """Make the tail: [N, 1024, H, W] -> [N, 2048, H, W]."""
    return nn.Sequential(separable(1024, 1536), nn.ReLU(), separable(1536, 2048), nn.ReLU())


class Xception(Classifier):
    """Classify images. `entry`: the widths of the blocks of three stages. The first block of a stage halves the map.

    A block has `convs` convolutions. In the third stage `middle` blocks of three follow; the fourth is the exit flow.
    """

    def __init__(
        self,
        entry: Sequence[Sequence[int]],
        middle: int,
        num_classes: int,
        in_size: int,
        convs: int = 2,
        stem: Callable[[], nn.Layer] = plain_stem,
        block: Callable[[int, Sequence[int], int], Block] = pooled,
        tail: Callable[[], nn.Layer] = plain_tail,
        head: Callable[[int, int], nn.Layer] = PooledLinear,
    ):
        super().__init__(num_classes, in_size)
        self.stem, width_in, stages = stem(), 64, []
        for row in entry:
            blocks: list[nn.Layer] = []
            for width in row:
                blocks.append(block(width_in, [width] * convs, 1 if blocks else 2))
                width_in = width
            stages.append(blocks)
        stages[-1] += [block(width_in, [width_in] * 3, 1) for _ in range(middle)]
        stages.append([block(width_in, [width_in] + [1024] * (convs - 1), 2), tail()])
        self.stages = nn.LayerList(nn.Sequential(*blocks) for blocks in stages)
        self.head = head(2048, num_classes)


ENTRY = [[128], [256], [728]]

Family(
    "xception",
    Xception,
    variants={
        "Xception41": dict(entry=ENTRY, middle=8),
        "Xception65": dict(entry=ENTRY, middle=16),
        "Xception71": dict(entry=[[128, 256], [256, 728], [728]], middle=16),
    },
    rename=[
        (r"^stem\.0", "_entry_flow._conv1"),
        (r"^stem\.1", "_entry_flow._conv2"),
        (r"^stages\.([01]\.\d|2\.0)\.", "_entry_flow._conv_{n}."),
        (r"^(_entry.*)\.body\.0", "{0}._conv1"),
        (r"^(_entry.*)\.body\.1", "{0}._conv2"),
        (r"^stages\.2\.\d+\.body\.(\d)", "_middle_flow._conv_{block:-1}._conv_{0}"),
        (r"^stages\.3\.0\.body\.0", "_exit_flow._conv_0._conv_1"),
        (r"^stages\.3\.0\.body\.1", "_exit_flow._conv_0._conv_2"),
        (r"^stages\.3\.0\.", "_exit_flow._conv_0."),
        (r"^stages\.3\.1\.0", "_exit_flow._conv_1"),
        (r"^stages\.3\.1\.2", "_exit_flow._conv_2"),
        (r"\.shortcut", "._short"),
        (r"\.point", "._pointwise_conv"),
        (r"\.filter", "._depthwise_conv"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
        (r"^head\.fc", "_exit_flow._out"),
    ],
    rename_static=[
        (r"^stem\.0", "entry_flow_conv1"),
        (r"^stem\.1", "entry_flow_conv2"),
        (r"^stages\.([01]\.\d|2\.0)\.", "entry_flow_{n}_"),
        (r"^stages\.2\.\d+\.", "middle_flow_{block:-1}_"),
        (r"^stages\.3\.0\.", "exit_flow_1_"),
        (r"^stages\.3\.1\.0\.", "exit_flow_2_"),
        (r"^stages\.3\.1\.2\.", "exit_flow_3_"),
        (r"body\.0\.", "branch2a_weights_"),
        (r"body\.1\.", "branch2b_weights_"),
        (r"body\.2\.", "branch2c_weights_"),
        (r"shortcut", "branch1"),
        (r"point", "sep"),
        (r"filter", "dw"),
        (r"^head\.", ""),
        (r"\.conv\.", "."),
        (r"^(.*)\.bn\.weight", "bn_{0}_scale"),
        (r"^(.*)\.bn\._?", "bn_{0}_"),
        (r"\.weight", "_weights"),
        (r"[._]bias", "_offset"),
    ],
)
