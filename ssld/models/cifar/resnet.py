"""ResNet for CIFAR: section 4.2 of Deep residual learning for image recognition. arXiv:1512.03385

A network of depth 6 n + 2 has three stages of n blocks. Shortcuts that change the width are convolutions, which the
paper has in its option B; `x4` has four times the widths, after a stem of twice the width.
"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.models.base import Classifier, Family, Rule
from ssld.models.cifar.weights import STATISTICS, start_from_outputs
from ssld.models.layers import ConvBN, PooledLinear
from ssld.models.resnet import Basic, Bottleneck, ResNet, projection

NARROW, WIDE = (16, 16, 32, 64), (32, 64, 128, 256)


class CifarResNet(Classifier):
    """Classify images. `depth` is 6 n + 2 for n blocks a stage, `widths` are those of stem and stages."""

    def __init__(self, depth: int, widths: Sequence[int], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width_in, *widths = widths
        self.stem, self.stages = ConvBN(3, width_in, 3, act=nn.ReLU), nn.LayerList()
        for width, stride in zip(widths, (1, 2, 2), strict=True):
            same = stride == 1 and width == width_in
            first = Basic(width_in, width, stride, nn.Identity() if same else projection(width_in, width, stride))
            rest = [Basic(width, width, 1, nn.Identity()) for _ in range((depth - 2) // 6 - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            width_in = width
        self.head = PooledLinear(width_in, num_classes)
        start_from_outputs(self)


class CifarResNet50(ResNet):
    """Classify images: ResNet-50 as for larger images, after a stem that keeps the resolution."""

    def __init__(self, num_classes: int, in_size: int):
        super().__init__(
            Bottleneck, (3, 4, 6, 3), num_classes, in_size, stem=lambda width: ConvBN(3, width, 3, act=nn.ReLU)
        )
        start_from_outputs(self)


_NAMES: list[Rule] = [
    (r"^stem\.(conv|bn)", "{0}1"),
    (r"^stages\.\d\.\d+", "layer{stage}.{block}"),
    (r"body\.(\d)\.(conv|bn)", "{1}{0:+1}"),
    (r"^head\.", ""),
]
_RULES = [*_NAMES, (r"shortcut\.conv", "downsample.0"), (r"shortcut\.bn", "downsample.1"), *STATISTICS]
_RULES_50 = [
    *_NAMES,
    (r"shortcut\.conv", "shortcut.0"),
    (r"shortcut\.bn", "shortcut.1"),
    (r"^fc", "linear"),
    *STATISTICS,
]

Family(
    "resnet_cifar",
    CifarResNet,
    variants={
        "resnet20": dict(depth=20, widths=NARROW),
        "resnet32": dict(depth=32, widths=NARROW),
        "resnet56": dict(depth=56, widths=NARROW),
        "resnet110": dict(depth=110, widths=NARROW),
        "resnet8x4": dict(depth=8, widths=WIDE),
        "resnet32x4": dict(depth=32, widths=WIDE),
    },
    rename=_RULES,
)
Family("resnet50_cifar", CifarResNet50, variants={"ResNet50_cifar": {}}, rename=_RULES_50)
