"""ResNeSt: Split-attention networks. arXiv:2004.08955"""

from __future__ import annotations

import paddle
from paddle import nn
from paddle.nn.functional import sigmoid, softmax

from ssld.models.base import Family, Place
from ssld.models.layers import ConvBN, deep_stem, pooled_projection
from ssld.models.resnet import ResNet
from ssld.models.taps import Summed


class SplitAttention(nn.Layer):
    """Convolve by a 3x3 to `radix` splits, weigh them and add them: [N, C, H, W] -> the same shape.

    The weights of a channel are worked out from the global averages of the added splits; those of its splits sum to 1.
    A single split has a gate instead.
    """

    def __init__(self, width: int, radix: int, bias: bool):
        super().__init__()
        squeeze = max(radix * width // 4, 32)
        self.radix = radix
        self.splits = ConvBN(width, radix * width, 3, groups=radix, act=nn.ReLU)
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.squeeze = ConvBN(width, squeeze, 1, act=nn.ReLU)
        self.excite = nn.Conv2D(squeeze, radix * width, 1, bias_attr=None if bias else False)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.splits(x)
        if self.radix == 1:
            return x * sigmoid(self._weights(x))
        # It averages the sum and does not sum averages: deep in this network rounding becomes 100 times as large.
        splits = x.chunk(self.radix, axis=1)
        weights = self._weights(paddle.add_n(splits)).reshape([0, self.radix, -1, 1, 1])
        # It uses map and unbind: to_static knows no zip(strict=True), and ONNX splits no axis of unknown length.
        return paddle.add_n([*map(paddle.multiply, splits, softmax(weights, axis=1).unbind(axis=1))])

    def _weights(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.excite(self.squeeze(self.pool(x)))


class SplitBottleneck(Summed):
    """Apply a 1x1, split attention, a 1x1, a shortcut: [N, width_in, H, W] -> [N, 4 width, H / stride, W / stride]."""

    expansion = 4

    def __init__(
        self,
        width_in: int,
        width: int,
        stride: int,
        shortcut: nn.Layer,
        radix: int,
        pool_first: bool,
        bias: bool = True,
    ):
        super().__init__()
        attend = ("attend", SplitAttention(width, radix, bias))
        # The pool strides, not the 3x3. It averages over the pixels that are there: zeros of the padding do not count.
        pool = [("pool", nn.AvgPool2D(3, stride, 1))] if stride > 1 else []
        self.body = nn.Sequential(
            ("reduce", ConvBN(width_in, width, 1, act=nn.ReLU)),
            *([*pool, attend] if pool_first else [attend, *pool]),
            ("expand", ConvBN(width, self.expansion * width, 1)),
        )
        self.shortcut = shortcut


def _numbered(place: Place) -> str:
    """Name a block: 1.x appends the number of every block but the first to the name of the one before."""
    return f"layer{place.stage}" + "".join(f"_bottleneck_{n}" for n in range(1, place.block + 1) or [0])


_BLOCKS = dict(block=SplitBottleneck, depths=(3, 4, 6, 3), stem=deep_stem, shortcut=pooled_projection)

Family(
    "resnest",
    ResNet,
    variants={
        "ResNeSt50_fast_1s1x64d": dict(radix=1, pool_first=True, **_BLOCKS),
        "ResNeSt50": dict(radix=2, pool_first=False, **_BLOCKS),
    },
    old={name: dict(bias=False) for name in ("ResNeSt50_fast_1s1x64d", "ResNeSt50")},
    rename=[
        (r"^stem\.(\d)", "stem.conv{0:+1}"),
        (r"^stages\.\d\.(\d+)", "layer{stage}.layer{stage}_bottleneck_{0}"),
        (r"body\.reduce", "conv1"),
        (r"body\.attend\.splits", "conv2.conv1"),
        (r"body\.attend\.squeeze", "conv2.conv2"),
        (r"body\.attend\.excite", "conv2.conv3"),
        (r"body\.expand", "conv3"),
        (r"shortcut\.conv", "conv4"),
        (r"shortcut\.bn", "_batch_norm"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
        (r"^head\.fc", "out"),
    ],
    rename_static=[
        (r"^stem\.(\d)", "conv{0:+1}"),
        (r"^stages\.\d\.\d+", lambda _, place: _numbered(place)),
        (r"\.body\.reduce", "_conv1"),
        (r"\.body\.attend\.splits", "_splatconv_splat1"),
        (r"\.body\.attend\.squeeze", "_splatconv_splat2"),
        (r"\.body\.attend\.excite", "_splatconv_splat"),
        (r"\.body\.expand", "_conv3"),
        (r"\.shortcut\.conv", ""),
        (r"\.shortcut\.bn", "_shortcut.bn"),
        (r"^head\.fc", "fc"),
        (r"\.conv\.weight", "_weight"),
        (r"\.bn\.weight", "_scale"),
        (r"\.weight", "_weights"),
        (r"(\.bn)?\.bias", "_offset"),
        (r"\.bn\._", "_"),
    ],
)
