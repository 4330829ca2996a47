"""VGG: Very deep convolutional networks for large-scale image recognition. arXiv:1409.1556"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.errors import RecipeError
from ssld.models.base import Classifier, Family, Rule
from ssld.models.layers import STATIC_ENDS


class VGG(Classifier):
    """Classify images of `in_size`: see the head. `depths` counts the 3x3 convolutions of the five stages."""

    def __init__(self, depths: Sequence[int], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        side = in_size // 32  # a pool ends every stage
        if not side:
            raise RecipeError(f"model vgg: in_size {in_size} leaves no pixel to classify; give at least 32")
        self.stem, self.stages = nn.Identity(), nn.LayerList()  # the first stage reads the image
        width_in = 3
        for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
            convs = [_conv(w, width) for w in (width_in, *(depth - 1) * [width])]
            self.stages.append(nn.Sequential(*convs, nn.MaxPool2D(2, 2)))
            width_in = width
        self.head = _head(width_in * side**2, num_classes)


def _conv(width_in: int, width: int) -> nn.Sequential:
    """Convolve [N, width_in, H, W] -> [N, width, H, W]; published weights hold no bias here, unlike the paper's."""
    conv = nn.Conv2D(width_in, width, 3, padding=1, bias_attr=False)
    return nn.Sequential(("conv", conv), ("act", nn.ReLU()))


def _head(inputs: int, num_classes: int) -> nn.Sequential:
    """Make three linear layers. The first has a weight for every pixel of the last map, so it fits one image size."""
    return nn.Sequential(
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(inputs, 4096)),
        ("act1", nn.ReLU()),
        ("drop1", nn.Dropout(0.5, mode="downscale_in_infer")),  # published weights expect features x 0.5 in eval
        ("fc2", nn.Linear(4096, 4096)),
        ("act2", nn.ReLU()),
        ("drop2", nn.Dropout(0.5, mode="downscale_in_infer")),
        ("fc3", nn.Linear(4096, num_classes)),
    )


_NAMES: list[Rule] = [
    (r"^stages\.(\d)\.(\d)\.conv", "conv_block_{0:+1}.conv{1:+1}"),
    (r"^head\.", ""),
]

Family(
    "vgg",
    VGG,
    variants={
        "VGG11": dict(depths=(1, 1, 2, 2, 2)),
        "VGG13": dict(depths=(2, 2, 2, 2, 2)),
        "VGG16": dict(depths=(2, 2, 3, 3, 3)),
        "VGG19": dict(depths=(2, 2, 4, 4, 4)),
    },
    rename=_NAMES,
    rename_2_0=[
        *_NAMES,
        (r"^conv_block_(\d)\.conv", "_conv_block_{0}._conv_"),
        (r"^fc3", "_out"),
        (r"^fc", "_fc"),
    ],
    rename_static=[
        *_NAMES,
        (r"^conv_block_(\d)\.conv", "conv{0}_"),
        (r"^fc(\d)", "fc{0:+5}"),
        *STATIC_ENDS,
    ],
)
