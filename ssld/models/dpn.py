"""DPN: Dual path networks. arXiv:1707.01629

The linear layer starts at U(+-0.01).
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.initializer import Uniform

from ssld.models.base import Classifier, Family
from ssld.models.densenet import BNConv
from ssld.models.layers import STATIC_ENDS, ConvBN


class Block(nn.Layer):
    """Apply a 1x1, a 3x3 and a 1x1 to both paths: `width` channels are added to the residual one, `growth` join the
    dense one.

    The paths lie side by side, [N, width + D, H, W] -> [N, width + D + growth, H, W]. The first block of a stage reads
    the paths of the stage before; its `paths` project them to [N, width + 2 growth, H / stride, W / stride].
    """

    def __init__(self, width_in: int, inner: int, width: int, growth: int, stride: int, groups: int, paths: nn.Layer):
        super().__init__()
        self.body = nn.Sequential(
            BNConv(width_in, inner, 1),
            BNConv(inner, inner, 3, stride, groups),
            BNConv(inner, width + growth, 1),
        )
        self.paths, self.width = paths, width

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        residual, dense = self.paths(x).split([self.width, -1], axis=1)
        added, appended = self.body(x).split([self.width, -1], axis=1)
        return paddle.concat([residual + added, dense, appended], axis=1)


class DPN(Classifier):
    """Classify images.

    `stem` is the width and kernel of the first convolution; `growths` and `depths` hold a number for every stage.

    `width` channels on the residual path and `inner` ones, in `groups`, in the 3x3 are those of stage 1. Both double
    with every further stage.
    """

    def __init__(
        self,
        stem: tuple[int, int],
        width: int,
        inner: int,
        groups: int,
        growths: Sequence[int],
        depths: Sequence[int],
        num_classes: int,
        in_size: int,
    ):
        super().__init__(num_classes, in_size)
        width_in, kernel = stem
        self.stem = nn.Sequential(ConvBN(3, width_in, kernel, 2, act=nn.ReLU), nn.MaxPool2D(3, 2, 1))
        self.stages, stride = nn.LayerList(), 1
        for growth, depth in zip(growths, depths, strict=True):
            blocks, paths = [], BNConv(width_in, width + 2 * growth, 1, stride)
            for number in range(depth):
                blocks.append(Block(width_in, inner, width, growth, stride, groups, paths))
                width_in = width + (number + 3) * growth
                stride, paths = 1, nn.Identity()
            self.stages.append(nn.Sequential(*blocks))
            width, inner, stride = 2 * width, 2 * inner, 2
        self.head = nn.Sequential(
            ("bn", nn.BatchNorm2D(width_in)),
            ("act", nn.ReLU()),
            ("pool", nn.AdaptiveAvgPool2D(1)),
            ("flatten", nn.Flatten()),
            ("fc", nn.Linear(width_in, num_classes, weight_attr=Uniform(-0.01, 0.01))),
        )


Family(
    "dpn",
    DPN,
    variants={
        "DPN68": dict(stem=(10, 3), width=64, inner=128, groups=32, growths=(16, 32, 32, 64), depths=(3, 4, 12, 3)),
        "DPN92": dict(stem=(64, 7), width=256, inner=96, groups=32, growths=(16, 32, 24, 128), depths=(3, 4, 20, 3)),
        "DPN98": dict(stem=(96, 7), width=256, inner=160, groups=40, growths=(16, 32, 32, 128), depths=(3, 6, 20, 3)),
        "DPN107": dict(stem=(128, 7), width=256, inner=200, groups=50, growths=(20, 64, 64, 128), depths=(4, 8, 20, 3)),
        "DPN131": dict(stem=(128, 7), width=256, inner=160, groups=40, growths=(16, 32, 32, 128), depths=(4, 8, 28, 3)),
    },
    rename=[
        (r"^stem\.0", "conv1_x_1_func"),
        (r"^stages\.\d\.\d+", "dpn{n:+1}"),
        (r"\.paths", ".c1x1_w_func"),
        (r"\.body\.0", ".c1x1_a_func"),
        (r"\.body\.1", ".c3x3_b_func"),
        (r"\.body\.2", ".c1x1_c_func"),
        (r"^head\.bn", "conv5_x_x_bn"),
        (r"^head\.fc", "out"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
    ],
    rename_static=[
        (r"^stem\.0", "conv1"),
        (r"^stages\.\d\.\d+", "dpn{n:+1}"),
        (r"\.paths", "_match"),
        (r"\.body\.(\d)", "_conv{0:+1}"),
        (r"^head\.bn", "final_concat.bn"),
        (r"^head\.", ""),
        *STATIC_ENDS,
    ],
)
