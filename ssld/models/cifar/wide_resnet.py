"""Wide ResNet: Wide residual networks. arXiv:1605.07146

A block normalises and activates what enters it. One that changes the width does so for its shortcut too, so that this
batch norm and ReLU belong to what comes before: here they end the stage before, or the stem.
"""

from __future__ import annotations

from collections.abc import Collection

import paddle
from paddle import nn

from ssld.models.base import Classifier, Family, Rule
from ssld.models.cifar.weights import STATISTICS, start_from_outputs
from ssld.models.convolution import Conv2D
from ssld.models.layers import BatchNorm2D, ConvBN, PooledLinear
from ssld.models.taps import read_head


class Block(nn.Layer):
    """Add two convolutions to the input: [N, width_in, H, W] -> [N, width, H / stride, W / stride].

    One that changes the width takes a map that is normalised and activated already.
    """

    def __init__(self, width_in: int, width: int, stride: int):
        super().__init__()
        widens = width_in != width
        opening = [] if widens else [("bn", BatchNorm2D(width_in)), ("act", nn.ReLU())]
        first = ("first", ConvBN(width_in, width, 3, stride, act=nn.ReLU))
        self.body = nn.Sequential(*opening, first, ("second", Conv2D(width, width, 3)))
        self.shortcut = Conv2D(width_in, width, 1, stride) if widens else nn.Identity()

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.body(x) + self.shortcut(x)


class WideResNet(Classifier):
    """Classify images. `depth` is 6 n + 4 for n blocks a stage; `factor` multiplies the widths 16, 32 and 64.

    A tap `stage1.sum` is what the blocks of a stage add up to, `stage1.pre` that value after the next batch norm, and
    `stage1` after its ReLU. The features of the literature are the sums, and its features before the activation
    `stage1.pre`.
    """

    def __init__(self, depth: int, factor: int, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in = 16
        opening = [] if factor == 1 else [("bn", BatchNorm2D(width_in)), ("act", nn.ReLU())]
        self.stem = nn.Sequential(("conv", Conv2D(3, width_in, 3)), *opening)
        self.stages = nn.LayerList()
        for full, stride in ((16, 1), (32, 2), (64, 2)):
            width = factor * full
            rest = [Block(width, width, 1) for _ in range((depth - 4) // 6 - 1)]
            blocks = nn.Sequential(Block(width_in, width, stride), *rest)
            self.stages.append(nn.Sequential(("blocks", blocks), ("bn", BatchNorm2D(width)), ("act", nn.ReLU())))
            width_in = width
        self.head = PooledLinear(width_in, num_classes)
        start_from_outputs(self)

    @property
    def taps(self) -> tuple[str, ...]:
        places = [f"stage{number + 1}{point}" for number in range(len(self.stages)) for point in (".sum", ".pre", "")]
        return (*places, "map", "embedding")

    def outputs(self, x: paddle.Tensor, taps: Collection[str] = ()) -> dict[str, paddle.Tensor]:
        self._check(taps)
        values, x = {}, self.stem(x)
        for number, stage in enumerate(self.stages):
            for point, layer in zip((".sum", ".pre", ""), stage.children(), strict=True):
                x = layer(x)
                values[f"stage{number + 1}{point}"] = x
        return {name: values[name] for name in values if name in taps} | read_head(self.head, x, taps)


# The published code has the batch norm that ends one of our stages in the block that follows.
_NAMES: list[Rule] = [
    (r"^stem\.conv", "conv1"),
    (r"^stem\.bn", "block1.layer.0.bn1"),
    (r"^stages\.2\.bn", "bn1"),
    (r"^stages\.(\d)\.bn", "block{0:+2}.layer.0.bn1"),
    (r"^stages\.(\d)\.blocks\.(\d+)", "block{0:+1}.layer.{1}"),
    (r"body\.bn", "bn1"),
    (r"body\.first\.conv", "conv1"),
    (r"body\.first\.bn", "bn2"),
    (r"body\.second", "conv2"),
    (r"shortcut", "convShortcut"),
    (r"^head\.", ""),
]

Family(
    "wide_resnet_cifar",
    WideResNet,
    variants={
        "wrn_16_1": dict(depth=16, factor=1),
        "wrn_16_2": dict(depth=16, factor=2),
        "wrn_40_1": dict(depth=40, factor=1),
        "wrn_40_2": dict(depth=40, factor=2),
    },
    rename=[*_NAMES, *STATISTICS],
)
