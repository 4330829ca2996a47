"""EfficientNet: Rethinking model scaling for convolutional neural networks. arXiv:1905.11946 (table 1)

Initialisation is Paddle's default, that of the last linear layer too.
"""

from __future__ import annotations

from math import ceil

import paddle
from paddle import nn
from paddle.nn.functional import sigmoid, swish

from ssld.models.base import Classifier, Family
from ssld.models.convolution import DepthwiseConv2D
from ssld.models.layers import rounded

# Stages hold rows (kernel, expansion, width, blocks, stride of the first block); widths and blocks have no scale yet.
STAGES = [
    [(3, 1, 16, 1, 1)],
    [(3, 6, 24, 2, 2)],
    [(5, 6, 40, 2, 2)],
    [(3, 6, 80, 3, 2), (5, 6, 112, 3, 1)],
    [(5, 6, 192, 4, 2), (3, 6, 320, 1, 1)],
]


def normed(conv: nn.Conv2D, act: type | None = None) -> nn.Sequential:
    """Follow a convolution with BN and activation.

    The published statistics need TensorFlow's momentum and epsilon of BN.
    """
    bn = nn.BatchNorm2D(conv.weight.shape[0], momentum=0.99, epsilon=1e-3)
    return nn.Sequential(("conv", conv), ("bn", bn), *([("act", act())] if act else []))


def pointwise(width_in: int, width: int, act: type | None = None) -> nn.Sequential:
    return normed(nn.Conv2D(width_in, width, 1, bias_attr=False), act)


def pad_before(kernel: int, stride: int, native: int) -> int:
    """Return how many pixels TensorFlow's SAME puts before the first one where the map has `native` pixels a side.

    Published weights expect this at every input size: SAME of the size at hand would look one pixel further on or back.
    With kernel - 1 - pad_before pixels after the last one, a map of H pixels gives ceil(H / stride).
    """
    return (kernel - (native % stride or stride)) // 2


class SqueezeExcite(nn.Layer):
    """Weigh the channels by their global averages: [N, C, H, W] -> the same shape."""

    def __init__(self, width: int, squeeze: int):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.squeeze = nn.Conv2D(width, squeeze, 1)
        self.excite = nn.Conv2D(squeeze, width, 1)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x * sigmoid(self.excite(swish(self.squeeze(self.pool(x)))))


class Residual(nn.Layer):
    """Add the input of a body of any layers to its output: [N, C, H, W] -> the same shape.

    With drop connect, in training the body is left out for an image with probability `drop`, and counts 1 / (1 - drop)
    times for the others.
    """

    def __init__(self, body: nn.Layer, drop: float):
        super().__init__()
        self.body, self.drop = body, nn.Dropout(drop, axis=0)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + self.drop(self.body(x))


def inverted_bottleneck(
    width_in: int, width: int, kernel: int, expansion: int, stride: int, native: int, gated: bool
) -> nn.Sequential:
    """Expand, filter each channel, weigh, project: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""
    inner = expansion * width_in
    parts = {
        "expand": pointwise(width_in, inner, nn.Swish) if expansion > 1 else None,
        "filter": normed(DepthwiseConv2D(inner, kernel, stride, pad_before(kernel, stride, native)), nn.Swish),
        "gate": SqueezeExcite(inner, width_in // 4) if gated else None,  # a quarter of what enters, not of `inner`
        "project": pointwise(inner, width),
    }
    return nn.Sequential(*((name, part) for name, part in parts.items() if part))


class EfficientNet(Classifier):
    """Classify images.

    `width` and `depth` multiply those of STAGES; padding is that of images of `native` pixels a side.
    """

    def __init__(
        self,
        width: float,
        depth: float,
        native: int,
        dropout: float,
        drop_connect: float,
        num_classes: int,
        in_size: int,
        gated: bool = True,
    ):
        super().__init__(num_classes, in_size)
        width_in, size, before = rounded(32 * width), ceil(native / 2), pad_before(3, 2, native)
        stem = nn.Conv2D(3, width_in, 3, 2, padding=[before, 2 - before] * 2, bias_attr=False)
        self.stem, self.stages = normed(stem, nn.Swish), nn.LayerList()
        n, total = 0, sum(ceil(depth * repeats) for rows in STAGES for _, _, _, repeats, _ in rows)
        for rows in STAGES:
            blocks: list[nn.Layer] = []
            for kernel, expansion, base, repeats, stride in rows:
                width_out = rounded(width * base)
                for block in range(ceil(depth * repeats)):
                    body = inverted_bottleneck(width_in, width_out, kernel, expansion, stride, size, gated)
                    blocks.append(Residual(body, drop_connect * n / total) if block else body)
                    width_in, size, stride, n = width_out, ceil(size / stride), 1, n + 1
            self.stages.append(nn.Sequential(*blocks))
        self.head = _head(width_in, rounded(1280 * width), dropout, num_classes)


def _head(width_in: int, width: int, dropout: float, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        ("mix", pointwise(width_in, width, nn.Swish)),
        ("pool", nn.AdaptiveAvgPool2D(1)),
        ("flatten", nn.Flatten()),
        ("drop", nn.Dropout(dropout)),
        ("fc", nn.Linear(width, num_classes)),
    )


_B0 = dict(width=1.0, depth=1.0, dropout=0.2, drop_connect=0.2)

Family(
    "efficientnet",
    EfficientNet,
    variants={
        # Every map of one pixel is odd, which makes the padding symmetric.
        "EfficientNetB0_small": dict(native=1, gated=False, **_B0),
        "EfficientNetB0": dict(native=224, **_B0),
        "EfficientNetB1": dict(native=240, width=1.0, depth=1.1, dropout=0.2, drop_connect=0.2),
        "EfficientNetB2": dict(native=260, width=1.1, depth=1.2, dropout=0.3, drop_connect=0.2),
        "EfficientNetB3": dict(native=300, width=1.2, depth=1.4, dropout=0.3, drop_connect=0.2),
        "EfficientNetB4": dict(native=380, width=1.4, depth=1.8, dropout=0.4, drop_connect=0.2),
        "EfficientNetB5": dict(native=456, width=1.6, depth=2.2, dropout=0.4, drop_connect=0.2),
        "EfficientNetB6": dict(native=528, width=1.8, depth=2.6, dropout=0.5, drop_connect=0.2),
        "EfficientNetB7": dict(native=600, width=2.0, depth=3.1, dropout=0.5, drop_connect=0.2),
    },
    rename=[
        (r"^stem", "_ef._conv_stem._conv"),
        (r"^stages\.\d\.\d+\.body", "_ef.block.{n}."),
        (r"^stages\.\d\.\d+", "_ef._blocks.{n}."),
        (r"\.expand", "._ecn._conv"),
        (r"\.filter", "._dcn._conv"),
        (r"\.gate\.squeeze", "._se._conv1._conv"),
        (r"\.gate\.excite", "._se._conv2._conv"),
        (r"\.project", "._pcn._conv"),
        (r"^head\.mix", "_conv"),
        (r"^head\.fc", "_fc"),
        (r"\.conv\.", "._conv._conv."),
        (r"\.bn\.", "._bn."),
    ],
    rename_static=[
        (r"^stages\.\d\.\d+\.(body\.)?", "_blocks.{n}."),
        (r"(stem|expand)\.bn", "_bn0"),
        (r"(head\.mix|filter)\.bn", "_bn1"),
        (r"project\.bn", "_bn2"),
        (r"stem\.conv", "_conv_stem"),
        (r"expand\.conv", "_expand_conv"),
        (r"filter\.conv", "_depthwise_conv"),
        (r"gate\.squeeze", "_se_reduce"),
        (r"gate\.excite", "_se_expand"),
        (r"project\.conv", "_project_conv"),
        (r"head\.mix\.conv", "_conv_head"),
        (r"head\.fc", "_fc"),
        (r"(bn\d)\.weight", "{0}_scale"),
        (r"\.weight", "_weights"),
        (r"\.bias", "_offset"),
        (r"\._(mean|variance)", "_{0}"),
    ],
)
