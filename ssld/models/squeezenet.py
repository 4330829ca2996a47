"""SqueezeNet: AlexNet-level accuracy with 50x fewer parameters. arXiv:1602.07360"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.functional import relu

from ssld.errors import RecipeError
from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS
from ssld.models.taps import Activated


class Fire(Activated):
    """Squeeze in a 1x1, expand in a 1x1 and a 3x3 side by side: [N, width_in, H, W] -> [N, 2 expand, H, W]."""

    def __init__(self, width_in: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze = nn.Conv2D(width_in, squeeze, 1)
        self.expand1 = nn.Conv2D(squeeze, expand, 1)
        self.expand3 = nn.Conv2D(squeeze, expand, 3, padding=1)

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        x = relu(self.squeeze(x))
        return paddle.concat([self.expand1(x), self.expand3(x)], axis=1)


class SqueezeNet(Classifier):
    """Classify images.

    `stem`: width, kernel and padding of a convolution of stride 2; `stages`: squeezed widths of fires.
    """

    def __init__(self, stem: tuple[int, int, int], stages: Sequence[Sequence[int]], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width, kernel, padding = stem
        smallest = 2 * 14 + kernel - 2 * padding  # the stem makes 15 pixels of these, three pools make one of 15
        if in_size < smallest:
            raise RecipeError(
                f"model squeezenet: in_size {in_size} leaves no pixel to classify; give at least {smallest}"
            )
        self.stem = nn.Sequential(("conv", nn.Conv2D(3, width, kernel, 2, padding)), ("act", nn.ReLU()))
        self.stages = nn.LayerList()
        for squeezes in stages:
            fires = []
            for squeeze in squeezes:
                fires.append(Fire(width, squeeze, 4 * squeeze))
                width = 8 * squeeze
            self.stages.append(nn.Sequential(nn.MaxPool2D(3, 2), *fires))
        self.head = nn.Sequential(
            ("drop", nn.Dropout(0.5, mode="downscale_in_infer")),  # published weights expect features x 0.5 in eval
            ("conv", nn.Conv2D(width, num_classes, 1)),
            ("act", nn.ReLU()),  # logits are never negative
            ("pool", nn.AdaptiveAvgPool2D(1)),
            ("flatten", nn.Flatten()),
        )


Family(
    "squeezenet",
    SqueezeNet,
    variants={
        "SqueezeNet1_0": dict(stem=(96, 7, 0), stages=[(16, 16, 32), (32, 48, 48, 64), (64,)]),
        "SqueezeNet1_1": dict(stem=(64, 3, 1), stages=[(16, 16), (32, 32), (48, 48, 64, 64)]),
    },
    rename=[
        (r"^stem\.conv", "_conv"),
        (r"^stages\.\d\.\d", "_conv{n:+1}"),
        (r"\.squeeze", "._conv._conv"),
        (r"\.expand1", "._conv_path1._conv"),
        (r"\.expand3", "._conv_path2._conv"),
        (r"^head\.conv", "_conv9"),
    ],
    rename_static=[
        (r"^stem\.conv", "conv1"),
        (r"^stages\.\d\.\d", "fire{n:+2}"),  # the stem is the first layer
        (r"\.squeeze", "_squeeze1x1"),
        (r"\.expand(\d)", "_expand{0}x{0}"),
        (r"^head\.conv", "conv10"),
        *STATIC_ENDS,
    ],
)
