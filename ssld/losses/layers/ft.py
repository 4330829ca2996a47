"""Define paraphraser and translator of factor transfer, see `feature/ft.py` and `feature/paraphrase.py`."""

from __future__ import annotations

from itertools import pairwise

import paddle
from paddle import Tensor, nn

from ssld.losses.base import Shape
from ssld.losses.layers.regressor import side

SLOPE = 0.1  # slope of the activation below zero


def _chain(conv: type, widths: tuple[int, ...], normed: bool) -> nn.Sequential:
    """Make 3x3 convolutions with a bias from width to width, each with batch norm, if any, and leaky ReLU."""
    layers: list[nn.Layer] = []
    for before, after in pairwise(widths):
        norm = [nn.BatchNorm2D(after)] if normed else []
        layers += [conv(before, after, 3, padding=1), *norm, nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers)


class Paraphraser(nn.Layer):
    """Encode and decode maps: [N, C, H, W] -> the same shape; `encode` gives factors [N, rate C, H, W]."""

    def __init__(self, shape: Shape, rate: float):
        super().__init__()
        width = side(shape)[0]
        inner = _factor(width, rate)
        self.encode = _chain(nn.Conv2D, (width, width, inner, inner), normed=False)
        self.decode = _chain(nn.Conv2DTranspose, (inner, inner, width, width), normed=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Factors(nn.Layer):
    """Turn maps of student and teacher into their factors. The translator is trained, the paraphraser is not."""

    def __init__(self, student: Shape, teacher: Shape, rate: float):
        super().__init__()
        width, inner = side(student)[0], _factor(side(teacher)[0], rate)
        self.paraphraser = Paraphraser(teacher, rate)
        self.translator = _chain(nn.Conv2D, (width, width, inner, inner), normed=True)
        for parameter in self.paraphraser.parameters():
            parameter.stop_gradient = True

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        with paddle.no_grad():
            target = self.paraphraser.encode(teacher)
        return self.translator(student), target


def _factor(width: int, rate: float) -> int:
    return max(1, int(width * rate))
