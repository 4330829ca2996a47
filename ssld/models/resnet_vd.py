"""ResNet-C and ResNet-D: Bag of tricks for image classification with convolutional neural networks. arXiv:1812.01187"""

from __future__ import annotations

from paddle import nn

from ssld.models.base import Family
from ssld.models.layers import ConvBN
from ssld.models.resnet import DYGRAPH, LEGENDARY, STATIC, Basic, Bottleneck, ResNet


def deep_stem() -> nn.Sequential:
    """Three 3x3 convolutions instead of one 7x7: [N, 3, H, W] -> [N, 64, H / 4, W / 4]"""
    widths = (3, 32, 2), (32, 32, 1), (32, 64, 1)
    convs = [ConvBN(width_in, width, 3, stride, act=nn.ReLU) for width_in, width, stride in widths]
    return nn.Sequential(*convs, nn.MaxPool2D(3, 2, 1))


def pooled_projection(width_in: int, width: int, stride: int) -> nn.Layer:
    """Average before projecting, so that no pixel of the shortcut is dropped."""
    project = ConvBN(width_in, width, 1)
    if stride == 1:
        return project
    # SAME: a map of odd size keeps its last row and column, averaged over the pixels that are there.
    pool = nn.AvgPool2D(2, stride, padding="SAME")
    return nn.Sequential(("pool", pool), *project.named_children())


DEEP_STEM = [(r"^stem\.0", "conv1_1"), (r"^stem\.1", "conv1_2"), (r"^stem\.2", "conv1_3")]

Family(
    "resnet_vc",
    ResNet,
    variants={"ResNet50_vc": dict(block=Bottleneck, depths=(3, 4, 6, 3), stem=deep_stem)},
    rename=[*DEEP_STEM, *DYGRAPH],
    rename_static=[*DEEP_STEM, *STATIC],
)

_VD = dict(stem=deep_stem, shortcut=pooled_projection)

Family(
    "resnet_vd",
    ResNet,
    variants={
        "ResNet18_vd": dict(block=Basic, depths=(2, 2, 2, 2), **_VD),
        "ResNet34_vd": dict(block=Basic, depths=(3, 4, 6, 3), **_VD),
        "ResNet50_vd": dict(block=Bottleneck, depths=(3, 4, 6, 3), **_VD),
        "ResNet101_vd": dict(block=Bottleneck, depths=(3, 4, 23, 3), **_VD),
        "ResNet152_vd": dict(block=Bottleneck, depths=(3, 8, 36, 3), **_VD),
        "ResNet200_vd": dict(block=Bottleneck, depths=(3, 12, 48, 3), **_VD),
    },
    rename=LEGENDARY,
    rename_2_0=[*DEEP_STEM, *DYGRAPH],
    rename_static=[*DEEP_STEM, *STATIC],
)
