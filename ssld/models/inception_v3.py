"""InceptionV3: Rethinking the Inception architecture for computer vision. arXiv:1512.00567

The published weights have no auxiliary head. `Steps` is a notation for networks of branches, which InceptionV4 shares.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import paddle
from paddle import nn

from ssld.errors import RecipeError
from ssld.models.base import Classifier, Family, Place, Rename, Rule
from ssld.models.layers import STATIC_ENDS, PooledLinear
from ssld.models.taps import SideBySide, split

AVERAGE: Literal["average"] = "average"  # 3x3, keeps the size
MAX: Literal["max"] = "max"  # 3x3, stride 2, no padding


class Conv(NamedTuple):
    """Describe a convolution without bias, BN and ReLU. `kernel` is (height, width), or one number for both."""

    width: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padded: bool = True


def valid(width: int, stride: int = 2) -> Conv:
    """Describe a 3x3 without padding, a V in the drawings of the papers."""
    return Conv(width, 3, stride, padded=False)


# A step is a convolution, a pool, or a block: branches side by side whose outputs are concatenated.
Steps: TypeAlias = "Sequence[Conv | Literal['average', 'max'] | list[Steps]]"


class Chain(nn.Sequential):
    """Apply steps one after the other: [N, width, H, W] -> [N, self.width, H', W'].

    `exclusive`: whether an average at the border divides by the pixels that are there, instead of by 9.
    """

    def __init__(self, width: int, steps: Steps, exclusive: bool):
        layers = []
        for step in steps:
            if step == MAX:
                layers.append(nn.MaxPool2D(3, 2))
            elif step == AVERAGE:
                layers.append(nn.AvgPool2D(3, 1, 1, exclusive=exclusive))
            elif isinstance(step, Conv):
                layers.append(_conv_bn(width, step))
                width = step.width
            else:
                layers.append(Branches(width, step, exclusive))
                width = layers[-1].width
        super().__init__(*layers)
        self.width = width


def _conv_bn(width_in: int, conv: Conv) -> nn.Sequential:
    width, kernel, stride, padded = conv
    height, breadth = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = ((height - 1) // 2, (breadth - 1) // 2) if padded else 0
    layer = nn.Conv2D(width_in, width, (height, breadth), stride, padding, bias_attr=False)
    return nn.Sequential(("conv", layer), ("bn", nn.BatchNorm2D(width)), ("act", nn.ReLU()))


class Branches(SideBySide):
    """Concatenate chains side by side: [N, width, H, W] -> [N, self.width, H', W']."""

    def __init__(self, width: int, branches: list[Steps], exclusive: bool):
        super().__init__(Chain(width, steps, exclusive) for steps in branches)
        self.width = sum(chain.width for chain in self)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([chain(x) for chain in self], axis=1)

    def split(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        before, after = zip(*[split(chain, x) for chain in self], strict=True)
        return paddle.concat(list(before), axis=1), paddle.concat(list(after), axis=1)


class Inception(Classifier):
    """Classify images. `stem`: steps from the image to a map of 1/8; `stages`: the blocks at 1/8, 1/16 and 1/32."""

    def __init__(self, stem: Steps, stages: Sequence[Steps], exclusive: bool, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        if in_size < 75:  # some layers do not pad; they leave one pixel of 75
            raise RecipeError(f"model inception: in_size {in_size} leaves no pixel to classify; give at least 75")
        self.stem, self.stages = Chain(3, stem, exclusive), nn.LayerList()
        width = self.stem.width
        for steps in stages:
            self.stages.append(Chain(width, steps, exclusive))
            width = self.stages[-1].width
        self.head = PooledLinear(width, num_classes, dropout=0.2)


def named(kinds: Sequence[Sequence[str]], names: Mapping[str, Sequence[str]], template: str) -> Rule:
    """Make the rule for convolutions in blocks from the names in the files.

    `kinds`: the first block and the other blocks of a stage; `names`: for every kind and branch the names of its steps,
    a dash where a step has none; `template`: how {kind}, {number} of the block in its kind, and {conv} make a key.
    """

    def name(match: re.Match[str], place: Place | None) -> str:
        assert place is not None
        branch, step, side = match.groups()
        kind = kinds[place.stage - 1][min(place.block, 1)]
        number = place.block + 1 if place.stage == 1 else max(place.block, 1)  # later stages begin otherwise
        conv = names[kind][int(branch)].split()[int(step) + int(side or 0)]  # a block is the last step of its branch
        return template.format(kind=kind, number=number, conv=conv)

    return r"^stages\.\d\.\d\.(\d)\.(\d)\.(?:(\d)\.0\.)?", name


STEM = [valid(32), valid(32, 1), Conv(64, 3), MAX, Conv(80), valid(192, 1), MAX]


def _a(pooled: int) -> list[Steps]:
    return [[Conv(64)], [Conv(48), Conv(64, 5)], [Conv(64), Conv(96, 3), Conv(96, 3)], [AVERAGE, Conv(pooled)]]


def _c(width: int) -> list[Steps]:
    double = [Conv(width), Conv(width, (7, 1)), Conv(width, (1, 7)), Conv(width, (7, 1)), Conv(192, (1, 7))]
    return [[Conv(192)], [Conv(width), Conv(width, (1, 7)), Conv(192, (7, 1))], double, [AVERAGE, Conv(192)]]


_B: list[Steps] = [[valid(384)], [Conv(64), Conv(96, 3), valid(96)], [MAX]]
_D: list[Steps] = [[Conv(192), valid(320)], [Conv(192), Conv(192, (1, 7)), Conv(192, (7, 1)), valid(192)], [MAX]]
_FORK: list[Steps] = [[Conv(384, (1, 3))], [Conv(384, (3, 1))]]
_E: list[Steps] = [[Conv(320)], [Conv(384), _FORK], [Conv(448), Conv(384, 3), _FORK], [AVERAGE, Conv(192)]]

STAGES = [[_a(32), _a(64), _a(64)], [_B, _c(128), _c(160), _c(160), _c(192)], [_D, _E, _E]]

NAMES = {
    "a": ("1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3", "- _pool_conv"),
    "b": ("3x3", "3x3dbl_1 3x3dbl_2 3x3dbl_3"),
    "c": ("1x1", "7x7_1 7x7_2 7x7_3", "7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5", "- _pool_conv"),
    "d": ("3x3_1 3x3_2", "7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4"),
    "e": ("1x1", "3x3_1 3x3_2a 3x3_2b", "3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b", "- _pool_conv"),
}

BLOCKS: Rename = [
    (r"^stem\.0\.", "inception_stem.conv_1a_3x3."),
    (r"^stem\.1\.", "inception_stem.conv_2a_3x3."),
    (r"^stem\.2\.", "inception_stem.conv_2b_3x3."),
    (r"^stem\.4\.", "inception_stem.conv_3b_1x1."),
    (r"^stem\.5\.", "inception_stem.conv_4a_3x3."),
    named(("aa", "bc", "de"), NAMES, "inception_{kind}_{number}.branch{conv}."),
]

Family(
    "inception_v3",
    Inception,
    variants={"InceptionV3": dict(stem=STEM, stages=STAGES, exclusive=False)},
    old={"InceptionV3": dict(exclusive=True)},
    rename=[*BLOCKS, (r"^inception_._\d", "inception_block_list.{n}"), (r"^head\.fc", "fc")],
    rename_2_0=[
        *BLOCKS,
        (r"^inception_b", "nception_b"),  # the files spell it so
        (r"\.bn\.", ".batch_norm."),
        (r"^head\.fc", "out"),
    ],
    rename_static=[
        *BLOCKS,
        (r"^inception_stem\.", ""),
        (r"^(inception_.)(_\d)\.(branch\w+?)(?:_conv)?\.", "{0}_{2}{1}."),
        (r"^head\.", ""),
        *STATIC_ENDS,
    ],
)
