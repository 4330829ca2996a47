"""AlexNet: One weird trick for parallelizing convolutional neural networks. arXiv:1404.5997

It is the one-tower form of the network of 2012 (ImageNet classification with deep convolutional neural networks),
without local response normalisation. Weights and biases of a layer start at U(+-1/sqrt(inputs)).
"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn
from paddle.nn.initializer import Uniform

from ssld.errors import RecipeError
from ssld.models.base import Classifier, Family
from ssld.models.layers import STATIC_ENDS

Row = tuple[int, int, int, int]


class AlexNet(Classifier):
    """Classify images of `in_size`: see the head. `stages`: rows (width, kernel, stride, padding); a pool ends each."""

    def __init__(self, stages: Sequence[Sequence[Row]], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        self.stem, self.stages = nn.Identity(), nn.LayerList()  # the first stage reads the image
        width_in, side = 3, in_size
        for rows in stages:
            convs = []
            for width, kernel, stride, padding in rows:
                convs.append(_conv(width_in, width, kernel, stride, padding))
                width_in, side = width, (side + 2 * padding - kernel) // stride + 1
            self.stages.append(nn.Sequential(*convs, nn.MaxPool2D(3, 2)))
            side = (side - 3) // 2 + 1
        if side < 1:
            raise RecipeError(f"model alexnet: in_size {in_size} leaves no pixel to classify; give at least 63")
        self.head = _head(width_in * side**2, num_classes)


def _conv(width_in: int, width: int, kernel: int, stride: int, padding: int) -> nn.Sequential:
    start = _start(width_in * kernel**2)
    conv = nn.Conv2D(width_in, width, kernel, stride, padding, weight_attr=start, bias_attr=start)
    return nn.Sequential(("conv", conv), ("act", nn.ReLU()))


def _head(inputs: int, num_classes: int) -> nn.Sequential:
    """Make three linear layers. The first has a weight for every pixel of the last map, so it fits one image size."""
    start = _start(inputs)  # all three start so, as published, though the other two have 4096 inputs
    return nn.Sequential(
        ("flatten", nn.Flatten()),
        ("drop6", nn.Dropout(0.5, mode="downscale_in_infer")),  # published weights expect features x 0.5 in eval
        ("fc6", nn.Linear(inputs, 4096, start, start)),
        ("act6", nn.ReLU()),
        ("drop7", nn.Dropout(0.5, mode="downscale_in_infer")),
        ("fc7", nn.Linear(4096, 4096, start, start)),
        ("act7", nn.ReLU()),
        ("fc8", nn.Linear(4096, num_classes, start, start)),
    )


def _start(inputs: int) -> Uniform:
    return Uniform(-(inputs**-0.5), inputs**-0.5)


Family(
    "alexnet",
    AlexNet,
    variants={
        "AlexNet": dict(
            stages=[[(64, 11, 4, 2)], [(192, 5, 1, 2)], [(384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)]],
        ),
    },
    rename=[
        (r"^stages\.\d\.\d", "conv{n:+1}"),
        (r"^conv(1|2|5)\.", "_conv{0}._"),  # a pool follows these
        (r"^conv(3|4)\.conv", "_conv{0}"),
        (r"^head\.", "_"),
    ],
    rename_static=[
        (r"^stages\.\d\.\d\.conv", "conv{n:+1}"),
        (r"^head\.", ""),
        *STATIC_ENDS,
    ],
)
