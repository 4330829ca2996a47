"""DenseNet: Densely connected convolutional networks. arXiv:1608.06993 (table 1)"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ssld.errors import RecipeError
from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS, ConvBN, PooledLinear

SMALLEST = 29  # pixels: the first stage halves twice, rounding up, and each of three transitions once, rounding down


class BNConv(nn.Sequential):
    """Apply BN, ReLU, a convolution without bias: [N, width_in, H, W] -> [N, width, ceil(H / stride), ceil(W /
    stride)].
    """

    def __init__(self, width_in: int, width: int, kernel: int, stride: int = 1, groups: int = 1):
        padding = (kernel - 1) // 2
        conv = nn.Conv2D(width_in, width, kernel, stride, padding, groups=groups, bias_attr=False)
        super().__init__(("bn", nn.BatchNorm2D(width_in)), ("act", nn.ReLU()), ("conv", conv))


class DenseLayer(nn.Sequential):
    """Return its input, then `growth` channels made of it: [N, width_in, H, W] -> [N, width_in + growth, H, W].

    One concatenation a layer is needed, and enough: the next BN reads all channels, so they have to lie side by side.
    """

    def __init__(self, width_in: int, growth: int):
        super().__init__(BNConv(width_in, 4 * growth, 1), BNConv(4 * growth, growth, 3))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([x, super().forward(x)], axis=1)


class Transition(nn.Sequential):
    """Halve width and resolution: [N, width, H, W] -> [N, width / 2, H // 2, W // 2]."""

    def __init__(self, width: int):
        super().__init__(*BNConv(width, width // 2, 1).named_children(), ("pool", nn.AvgPool2D(2, 2)))


class DenseNet(Classifier):
    """Classify images.

    The stem gives `width` channels; every stage halves the map, then each of its layers adds `growth`.
    """

    def __init__(self, width: int, growth: int, depths: Sequence[int], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        if in_size < SMALLEST:
            raise RecipeError(f"model densenet: in_size {in_size} leaves no pixel to stage 4; give at least {SMALLEST}")
        self.stem, self.stages = ConvBN(3, width, 7, 2, act=nn.ReLU), nn.LayerList()
        for depth in depths:
            halve, width = (Transition(width), width // 2) if self.stages else (nn.MaxPool2D(3, 2, 1), width)
            self.stages.append(nn.Sequential(halve, *(DenseLayer(width + i * growth, growth) for i in range(depth))))
            width += depth * growth
        norm = ("bn", nn.BatchNorm2D(width)), ("act", nn.ReLU())
        self.head = nn.Sequential(*norm, *PooledLinear(width, num_classes).named_children())


Family(
    "densenet",
    DenseNet,
    variants={
        "DenseNet121": dict(width=64, growth=32, depths=(6, 12, 24, 16)),
        "DenseNet161": dict(width=96, growth=48, depths=(6, 12, 36, 24)),
        "DenseNet169": dict(width=64, growth=32, depths=(6, 12, 32, 32)),
        "DenseNet201": dict(width=64, growth=32, depths=(6, 12, 48, 32)),
        "DenseNet264": dict(width=64, growth=32, depths=(6, 12, 64, 48)),
    },
    rename=[  # published blocks count from stage 2, their layers from the halving, block 0
        (r"^stem", "conv1_func"),
        (r"^stages\.\d\.0", "tr_conv{stage}_blk.conv_ac_func"),
        (r"^stages\.\d\.\d+\.(\d)", "db_conv_{stage:+1}.conv{stage:+1}_{block}.bn_ac_func{0:+1}"),
        (r"^head\.bn", "batch_norm"),
        (r"^head\.fc", "out"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
    ],
    rename_static=[
        (r"^stem", "conv1"),
        (r"^stages\.\d\.0", "conv{stage}_blk"),
        (r"^stages\.\d\.\d+\.(\d)", "conv{stage:+1}_{block}_x{0:+1}"),
        (r"^head\.bn", "conv5_blk.bn"),
        (r"^head\.", ""),
        *STATIC_ENDS,
    ],
)
