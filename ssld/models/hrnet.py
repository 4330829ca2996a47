"""HRNet: Deep high-resolution representation learning for visual recognition. arXiv:1908.07919

Between the stem and the head, what flows is a list of branches: each has half the resolution of the one before it and,
but for the single branch of stage 1, twice its width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product

import paddle
from paddle import nn
from paddle.nn.functional import interpolate, relu

from ssld.models.base import Classifier, Family, Place, Rename
from ssld.models.layers import STATIC_ENDS, ConvBN, PooledLinear
from ssld.models.resnet import Basic, Bottleneck, projection
from ssld.models.taps import Activated, SideBySide, split

Branches = list[paddle.Tensor]  # branch i: [N, width_i, ceil(H / 2^i), ceil(W / 2^i)]


class Parallel(SideBySide):
    """Apply one layer to every branch."""

    def forward(self, xs: Branches) -> Branches:
        return [layer(xs[i]) for i, layer in enumerate(self)]  # Paddle cannot trace a strict zip

    def split(self, xs: Branches) -> tuple[Branches, Branches]:
        pairs = [split(layer, xs[i]) for i, layer in enumerate(self)]
        return [before for before, _ in pairs], [after for _, after in pairs]


class Grow(Parallel):
    """Add a branch, made from the last one at half its resolution; a branch that changes its width is convolved."""

    def __init__(self, widths_in: Sequence[int], widths: Sequence[int]):
        pairs = zip(widths_in, widths, strict=False)
        layers = [nn.Identity() if old == new else ConvBN(old, new, 3, act=nn.ReLU) for old, new in pairs]
        super().__init__([*layers, ConvBN(widths_in[-1], widths[-1], 3, 2, act=nn.ReLU)])

    def forward(self, xs: Branches) -> Branches:
        return super().forward([*xs, xs[-1]])


class Exchange(Activated):
    """Apply four basic blocks to every branch; then make each branch the sum of all of them, brought to its size."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        self.branches = Parallel(nn.Sequential(*(Basic(w, w, 1, nn.Identity()) for _ in range(4))) for w in widths)
        into = range(len(widths))
        self.paths = nn.LayerList(nn.LayerList(_path(widths, source, target) for source in into) for target in into)

    def forward(self, xs: Branches) -> Branches:
        return [relu(x) for x in self.before(xs)]

    def before(self, xs: Branches) -> Branches:
        xs = self.branches(xs)
        return [self._gather(xs, target) for target in range(len(xs))]

    def _gather(self, xs: Branches, target: int) -> paddle.Tensor:
        paths, last = self.paths[target], len(xs) - 1
        y = paths[last](xs[last])
        for source in range(last - 1, target - 1, -1):
            # They are added from low to high resolution, so one map is enlarged at a time. Published weights expect
            # nearest neighbours. It takes a size and not a factor: maps may be odd, and ONNX export knows no factor.
            y = paths[source](xs[source]) + interpolate(y, _size(xs[source]), mode="nearest")
        for source in range(target):
            y = y + paths[source](xs[source])
        return y


def _size(x: paddle.Tensor) -> Sequence[int] | paddle.Tensor:
    """Return height and width of a map; where a program is traced for images of any size, as a tensor in it."""
    size: list[int] = x.shape[2:]
    return paddle.shape(x)[2:] if -1 in size else size


def _path(widths: Sequence[int], source: int, target: int) -> nn.Layer:
    """Make the path between two branches.

    To a higher resolution it is a projection, still to be enlarged; to a lower one a 3x3 of stride 2 for each halving.
    """
    if source == target:
        return nn.Identity()
    width_in, width = widths[source], widths[target]
    if source > target:
        return ConvBN(width_in, width, 1)
    halvings = [ConvBN(width_in, width_in, 3, 2, act=nn.ReLU) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, ConvBN(width_in, width, 3, 2))


class Head(nn.Layer):
    """Widen every branch, add them up from high to low resolution, mix, classify: branches -> [N, num_classes]."""

    def __init__(self, widths: Sequence[int], num_classes: int):
        super().__init__()
        inner = [32 * 2**i for i in range(len(widths))]
        pairs = zip(widths, inner, strict=True)
        self.widen = Parallel(Bottleneck(old, new, 1, projection(old, 4 * new, 1)) for old, new in pairs)
        self.halve = nn.LayerList(ConvBN(4 * old, 8 * old, 3, 2, act=nn.ReLU) for old in inner[:-1])
        self.mix = ConvBN(4 * inner[-1], 2048, 1, act=nn.ReLU)
        self.out = PooledLinear(2048, num_classes)

    def forward(self, xs: Branches) -> paddle.Tensor:
        return self.out(self.merge(xs))

    def merge(self, xs: Branches) -> paddle.Tensor:
        """Merge the branches into one map [N, 2048, H, W]."""
        xs = self.widen(xs)
        y = xs[0]
        for i, halve in enumerate(self.halve):
            y = halve(y) + xs[i + 1]
        return self.mix(y)


class HRNet(Classifier):
    """Classify images. `width` is that of the branch with the highest resolution; stage s has s branches."""

    def __init__(self, width: int, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        self.stem = nn.Sequential(ConvBN(3, 64, 3, 2, act=nn.ReLU), ConvBN(64, 64, 3, 2, act=nn.ReLU))
        first = Bottleneck(64, 64, 1, projection(64, 256, 1))
        rest = [Bottleneck(256, 64, 1, nn.Identity()) for _ in range(3)]
        self.stages = nn.LayerList([Parallel([nn.Sequential(first, *rest)])])
        before = [256]
        for modules in (1, 4, 3):
            widths = [width * 2**i for i in range(len(before) + 1)]
            exchanges = [(str(n), Exchange(widths)) for n in range(modules)]
            self.stages.append(nn.Sequential(("grow", Grow(before, widths)), *exchanges))
            before = widths
        self.head = Head(before, num_classes)

    def _enter(self, x: paddle.Tensor) -> Branches:
        return [self.stem(x)]

    def _leave(self, x: Branches) -> paddle.Tensor:
        return self.head.merge(x)

    def _tapped(self, x: Branches) -> paddle.Tensor:
        """Return the last branch of stage s, which starts there: [N, C, H / 2^(s + 1), W / 2^(s + 1)]."""
        return x[-1]

    @property
    def _chain(self) -> nn.Sequential:
        return self.head.out

    @paddle.jit.not_to_static  # as that of every network of the zoo
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        branches = [self.stem(x)]
        for stage in self.stages:
            branches = stage(branches)
        return self.head(branches)


def _residual(match: re.Match[str], place: Place | None) -> str:
    """Name a convolution of a path: the published code numbers those of all paths of a module in one row."""
    assert place
    target, source, step = int(match[1]), int(match[2]), int(match[3] or 0)
    paths = product(range(place.stage), repeat=2)
    before = sum(max(i - j, int(j > i)) for i, j in paths if (i, j) < (target, source))
    return f".fuse_func.residual_func_list.{before + step}"


_NAMES: Rename = [  # the names that 1.x and 2.0 share
    (r"^stem\.(\d)", "layer1_{0:+1}"),
    (r"^stages\.0\.0\.(\d)", "layer2_{0:+1}"),
    (r"^stages\.(\d)\.grow\.(\d)", "tr{0}_layer_{1:+1}"),
    (r"^stages\.\d\.(\d)", "st{stage}_{0:+1}"),
    (r"\.branches\.(\d)\.(\d)", "_branch_layer_{0:+1}_{1:+1}"),
    (r"\.paths\.(\d)\.(\d)\.(\d)", "_layer_{0:+1}_{1:+1}_{2:+1}"),
    (r"\.paths\.(\d)\.(\d)", "_layer_{0:+1}_{1:+1}"),
    (r"^head\.halve\.(\d)", "cls_head_add{0:+1}"),
]

Family(
    "hrnet",
    HRNet,
    variants={
        "HRNet_W18_C": dict(width=18),
        "HRNet_W30_C": dict(width=30),
        "HRNet_W32_C": dict(width=32),
        "HRNet_W40_C": dict(width=40),
        "HRNet_W44_C": dict(width=44),
        "HRNet_W48_C": dict(width=48),
        "HRNet_W64_C": dict(width=64),
    },
    rename=[
        (r"^stem\.(\d)", "conv_layer1_{0:+1}"),
        (r"^stages\.0\.0", "layer1"),
        (r"^stages\.1\.grow\.(\d)", "conv_tr1_{0:+1}"),
        (r"^stages\.(\d)\.grow\.\d", "conv_tr{0}"),
        (r"^stages\.\d", "st{stage}.stage_func_list"),
        (r"\.branches", ".basic_block_list"),
        (r"\.paths\.(\d)\.(\d)(?:\.(\d))?", _residual),
        (r"\.body\.(\d)", ".conv{0:+1}"),
        (r"\.shortcut", ".conv_down"),
        (r"^head\.widen", "last_cls.func_list"),
        (r"^head\.halve", "cls_head_conv_list"),
        (r"^head\.mix", "conv_last"),
        (r"^head\.out\.", ""),
    ],
    rename_2_0=[
        *_NAMES,
        (r"^layer1", "conv_layer1"),
        (r"^layer2", "la1.bb_layer2"),
        (r"^(tr\d)", "{0}.transition_{0}"),
        (r"^((st\d)_\d)_branch", "{1}.stage_{0}.branches_func.bb_{0}_branch"),
        (r"^((st\d)_\d)_layer", "{1}.stage_{0}.fuse_func.residual_{0}_layer"),
        (r"\.body\.(\d)", ".conv{0:+1}"),
        (r"\.shortcut", ".conv_down"),
        (r"^head\.widen\.(\d)", "last_cls.conv_cls_head_conv_{0:+1}"),
        (r"^head\.mix", "conv_last"),
        (r"^head\.out\.fc", "out"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
    ],
    rename_static=[
        *_NAMES,
        (r"\.body\.(\d)", "_conv{0:+1}"),
        (r"\.shortcut", "_downsample"),
        (r"^head\.widen\.(\d)", "cls_headconv_{0:+1}"),
        (r"^head\.mix", "cls_head_last_conv"),
        (r"^head\.out\.", ""),
        *STATIC_ENDS,
    ],
)
