"""GoogLeNet: Going deeper with convolutions. arXiv:1409.4842

No convolution has a bias or a BN, and only the output of an Inception block passes a ReLU: the published weights were
trained so, whereas the paper has a ReLU after every convolution. Both revisions return logits; the code of 1.x returned
their softmax. Linear layers start at U(+-sqrt(3 / width)), the width being that of the paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn
from paddle.nn.initializer import Uniform

from ssld.errors import RecipeError
from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS
from ssld.models.taps import Activated


def conv(width_in: int, width: int, kernel: int, stride: int = 1) -> nn.Conv2D:
    return nn.Conv2D(width_in, width, kernel, stride, padding=(kernel - 1) // 2, bias_attr=False)


def linear(width_in: int, width: int, paper: int) -> nn.Linear:
    bound = (3 / paper) ** 0.5
    return nn.Linear(width_in, width, weight_attr=Uniform(-bound, bound))


class Inception(Activated):
    """Join a 1x1, a 3x3, a 5x5 and pooling side by side: [N, width_in, H, W] -> [N, one + three + five + pooled, H,
    W].
    """

    def __init__(self, width_in: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int):
        super().__init__()
        self.one = conv(width_in, one, 1)
        self.three = nn.Sequential(conv(width_in, reduce3, 1), conv(reduce3, three, 3))
        self.five = nn.Sequential(conv(width_in, reduce5, 1), conv(reduce5, five, 5))
        self.pool = nn.Sequential(nn.MaxPool2D(3, 1, 1), conv(width_in, pooled, 1))
        self.width = one + three + five + pooled

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        return paddle.concat([self.one(x), self.three(x), self.five(x), self.pool(x)], axis=1)


def auxiliary(width_in: int, side: int, num_classes: int, act: type) -> nn.Sequential:
    """Make the head of a stage in the middle: [N, width_in, side, side] -> [N, num_classes]."""
    kernel = min(5, side)
    flat = 128 * ((side - kernel) // 3 + 1) ** 2
    return nn.Sequential(
        ("pool", nn.AvgPool2D(kernel, 3)),
        ("conv", conv(width_in, 128, 1)),
        ("flatten", nn.Flatten()),
        ("fc", linear(flat, 1024, paper=2048)),  # the paper has 128 channels of 4x4 pixels, this code of 3x3
        ("act", act()),
        ("drop", nn.Dropout(0.7, mode="downscale_in_infer")),
        ("out", linear(1024, num_classes, paper=1024)),
    )


class GoogLeNet(Classifier):
    """Classify images. `stages`: the widths of every `Inception`; `act2`: the activation in the second auxiliary head.

    `forward` gives the logits of the main head alone, `heads` those of all three.
    """

    def __init__(self, stages: Sequence[Sequence[tuple[int, ...]]], act2: type, num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        side = (in_size + 1) // 2
        for _ in range(3):  # pools round down, as published weights expect: 55, 27, 13 pixels (the paper: 56, 28, 14)
            side = (side - 1) // 2
        if side < 3:
            raise RecipeError(f"model googlenet: in_size {in_size} leaves no pixel to classify; give at least 61")
        self.stem = nn.Sequential(conv(3, 64, 7, 2), nn.MaxPool2D(3, 2), conv(64, 64, 1), conv(64, 192, 3))
        self.stages, width = nn.LayerList(), 192
        for rows in stages:
            blocks = []
            for row in rows:
                blocks.append(Inception(width, *row))
                width = blocks[-1].width
            named = [(str(i), block) for i, block in enumerate(blocks)]
            self.stages.append(nn.Sequential(("pool", nn.MaxPool2D(3, 2)), *named))
        self.head = nn.Sequential(
            ("pool", nn.AdaptiveAvgPool2D(1)),
            ("drop", nn.Dropout(0.4, mode="downscale_in_infer")),  # published weights expect this mode
            ("flatten", nn.Flatten()),
            ("fc", linear(width, num_classes, paper=1024)),
        )
        self.aux1 = auxiliary(self.stages[1]["0"].width, side, num_classes, nn.ReLU)
        self.aux2 = auxiliary(self.stages[1]["3"].width, side, num_classes, act2)

    @property
    def auxiliary(self) -> list[nn.Layer]:
        return [self.aux1, self.aux2]

    def heads(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """Return logits [main, aux1, aux2] of images of `in_size` pixels; published training weighs the losses 1,
        0.3, 0.3.
        """
        pool, a, b, c, d, e = self.stages[1]
        first = a(pool(self.stages[0](self.stem(x))))
        fourth = d(c(b(first)))
        return [self.head(self.stages[2](e(fourth))), self.aux1(first), self.aux2(fourth)]


STAGES = [
    [(64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)],
    [
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ],
    [(256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)],
]

Family(
    "googlenet",
    GoogLeNet,
    # aux2 lost its ReLU when the code moved to 2.0; the published weights were trained with it.
    variants={"GoogLeNet": dict(stages=STAGES, act2=nn.Identity)},
    old={"GoogLeNet": dict(act2=nn.ReLU)},
    rename=[
        (r"^stem\.0\.", "_conv._conv."),
        (r"^stem\.2\.", "_conv_1._conv."),
        (r"^stem\.3\.", "_conv_2._conv."),
        (r"^stages\.\d\.\d", "_ince{stage:+2}{letter}"),
        (r"\.one\.", "._conv1._conv."),
        (r"\.three\.0\.", "._conv3r._conv."),
        (r"\.three\.1\.", "._conv3._conv."),
        (r"\.five\.0\.", "._conv5r._conv."),
        (r"\.five\.1\.", "._conv5._conv."),
        (r"\.pool\.1\.", "._convprj._conv."),
        (r"^aux(\d)\.conv", "_conv_o{0}._conv"),
        (r"^aux(\d)\.fc", "_fc_o{0}"),
        (r"^aux(\d)\.out", "_out{0}"),
        (r"^head\.fc", "_fc_out"),
    ],
    rename_static=[
        (r"^stem\.0", "conv1"),
        (r"^stem\.2", "conv2_1x1"),
        (r"^stem\.3", "conv2_3x3"),
        (r"^stages\.\d\.\d", "inception_ince{stage:+2}{letter}"),
        (r"\.one", "_1x1"),
        (r"\.three\.0", "_3x3_reduce"),
        (r"\.three\.1", "_3x3"),
        (r"\.five\.0", "_5x5_reduce"),
        (r"\.five\.1", "_5x5"),
        (r"\.pool\.1", "_3x3_proj"),
        (r"^aux(\d)\.conv", "conv_o{0}"),
        (r"^aux(\d)\.fc", "fc_o{0}"),
        (r"^aux(\d)\.out", "out{0}"),
        (r"^head\.fc", "out"),
        *STATIC_ENDS,
    ],
)
