"""VGG for CIFAR, with batch norms and one linear layer: Very deep convolutional networks. arXiv:1409.1556"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.models.base import Classifier, Family, Rule
from ssld.models.cifar.weights import STATISTICS, start_from_outputs
from ssld.models.layers import ConvBN, PooledLinear


class CifarVGG(Classifier):
    """Classify images. `depths` counts the 3x3 convolutions of the stem and of the four stages.

    A pool of 2x2 pixels opens the first three stages; the last one has none at 32 pixels, and one at 64.
    """

    def __init__(self, depths: Sequence[int], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        stem, *depths = depths
        self.stem, self.stages = nn.Sequential(*_convs(3, 64, stem)), nn.LayerList()
        width_in, pooled = 64, (True, True, True, in_size >= 64)
        for width, depth, pool in zip((128, 256, 512, 512), depths, pooled, strict=True):
            opening = [("pool", nn.MaxPool2D(2, 2))] if pool else []
            convs = [(str(number), conv) for number, conv in enumerate(_convs(width_in, width, depth))]
            self.stages.append(nn.Sequential(*opening, *convs))
            width_in = width
        self.head = PooledLinear(width_in, num_classes)
        start_from_outputs(self, linear=0.01)


def _convs(width_in: int, width: int, depth: int) -> list[ConvBN]:
    """Make convolutions with a bias, which the official networks count, although the batch norm takes it away."""
    return [ConvBN(w, width, 3, act=nn.ReLU, bias=True) for w in (width_in, *(depth - 1) * [width])]


# A block of the published code is a flat list: convolution, batch norm and ReLU take three places.
_NAMES: list[Rule] = [
    (r"^stem", "block0"),
    (r"^stages\.(\d)", "block{0:+1}"),
    (r"\.(\d)\.conv", lambda match, _: f".{3 * int(match[1])}"),
    (r"\.(\d)\.bn", lambda match, _: f".{3 * int(match[1]) + 1}"),
    (r"^head\.fc", "classifier"),
]

Family(
    "vgg_cifar",
    CifarVGG,
    variants={"vgg8": dict(depths=(1, 1, 1, 1, 1)), "vgg13": dict(depths=(2, 2, 2, 2, 2))},
    rename=[*_NAMES, *STATISTICS],
)
