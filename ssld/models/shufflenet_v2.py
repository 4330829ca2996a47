"""ShuffleNetV2: Practical guidelines for efficient CNN architecture design. arXiv:1807.11164

Published training code starts each depthwise filter at N(0, sqrt(2 / 9)) however many channels there are, and the last
layer at Xavier's uniform weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.functional import channel_shuffle
from paddle.nn.initializer import KaimingNormal, XavierUniform

from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS, ConvBN, DepthwiseBN, PooledLinear


def interleave(a: paddle.Tensor, b: paddle.Tensor) -> paddle.Tensor:
    """Take the channels of both in turn: twice [N, C, H, W] -> [N, 2 C, H, W]."""
    if paddle.in_dynamic_mode():
        return channel_shuffle(paddle.concat([a, b], axis=1), 2)  # its gradient is by far the fastest
    return paddle.stack([a, b], axis=2).flatten(1, 2)  # these operators do the same, and ONNX has them


class Body(nn.Sequential):
    """Mix, filter each channel, mix: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, width: int, stride: int, act: type):
        super().__init__(
            ConvBN(width_in, width, 1, act=act),
            DepthwiseBN(width, 3, stride, weights=KaimingNormal()),
            ConvBN(width, width, 1, act=act),
        )


class Block(nn.Layer):
    """Work on the second half of the channels, then shuffle both: [N, width, H, W] -> the same shape."""

    def __init__(self, width: int, act: type):
        super().__init__()
        self.body = Body(width // 2, width // 2, 1, act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        first_half, x = x.chunk(2, axis=1)
        return interleave(first_half, self.body(x))


class Reduction(nn.Layer):
    """Apply two branches to all channels, then shuffle: [N, width_in, H, W] -> [N, width, H / 2, W / 2]."""

    def __init__(self, width_in: int, width: int, act: type):
        super().__init__()
        separate = DepthwiseBN(width_in, 3, 2, weights=KaimingNormal())
        self.shortcut = nn.Sequential(separate, ConvBN(width_in, width // 2, 1, act=act))
        self.body = Body(width_in, width // 2, 2, act)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return interleave(self.shortcut(x), self.body(x))


class ShuffleNetV2(Classifier):
    """Classify images. `widths` are those of the three stages, `last` that of the convolution before the average."""

    def __init__(self, widths: Sequence[int], last: int, num_classes: int, in_size: int, act: type = nn.ReLU):
        super().__init__(num_classes, in_size)
        width_in = 24
        self.stem = nn.Sequential(ConvBN(3, width_in, 3, 2, act=act), nn.MaxPool2D(3, 2, 1))
        self.stages = nn.LayerList()
        for width, depth in zip(widths, (4, 8, 4), strict=True):
            blocks = (Block(width, act) for _ in range(depth - 1))
            self.stages.append(nn.Sequential(Reduction(width_in, width, act), *blocks))
            width_in = width
        classify = PooledLinear(last, num_classes, weights=XavierUniform())
        self.head = nn.Sequential(("mix", ConvBN(width_in, last, 1, act=act)), *classify.named_children())


Family(
    "shufflenet_v2",
    ShuffleNetV2,
    variants={
        "ShuffleNetV2_x0_25": dict(widths=(24, 48, 96), last=512),
        "ShuffleNetV2_x0_33": dict(widths=(32, 64, 128), last=512),
        "ShuffleNetV2_x0_5": dict(widths=(48, 96, 192), last=1024),
        "ShuffleNetV2": dict(widths=(116, 232, 464), last=1024),
        "ShuffleNetV2_x1_5": dict(widths=(176, 352, 704), last=1024),
        "ShuffleNetV2_x2_0": dict(widths=(244, 488, 976), last=2048),
        "ShuffleNetV2_swish": dict(widths=(116, 232, 464), last=1024, act=nn.Swish),
    },
    old={"ShuffleNetV2_x2_0": dict(widths=(224, 488, 976))},  # a slip of 1.x; the paper has 244
    rename=[
        (r"^stem\.0", "_conv1"),
        (r"\.shortcut\.0", "._conv_dw_1"),
        (r"\.shortcut\.1", "._conv_linear_1"),
        (r"\.body\.0", "._conv_pw"),
        (r"\.body\.1", "._conv_dw"),
        (r"\.body\.2", "._conv_linear"),
        (r"^(stages\.\d\.0\._conv_[a-z]+)\.", "{0}_2."),  # the body of a reduction is its second branch
        (r"^stages\.\d\.\d", "{stage:+1}_{block:+1}"),  # published stages count the stem
        (r"^head\.mix", "_last_conv"),
        (r"^head\.fc", "_fc"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
    ],
    rename_static=[
        (r"^stem\.0", "stage1_conv"),
        (r"\.body\.0", "_conv1"),
        (r"\.body\.1", "_conv2"),
        (r"\.body\.2", "_conv3"),
        (r"\.shortcut\.0", "_conv4"),
        (r"\.shortcut\.1", "_conv5"),
        (r"^stages\.\d\.\d", "stage_{stage:+1}_{block:+1}"),
        (r"^head\.mix", "conv5"),
        (r"^head\.fc", "fc6"),
        *STATIC_ENDS,
    ],
)
