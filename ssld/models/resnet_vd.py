"""ResNet-C and ResNet-D: Bag of tricks for image classification with convolutional neural networks. arXiv:1812.01187"""

from __future__ import annotations

from ssld.models.base import Family
from ssld.models.layers import deep_stem, pooled_projection
from ssld.models.resnet import DEEP_STEM, LEGENDARY, NESTED, NUMBERED_FC, STATIC, Basic, Bottleneck, ResNet

Family(
    "resnet_vc",
    ResNet,
    variants={"ResNet50_vc": dict(block=Bottleneck, depths=(3, 4, 6, 3), stem=deep_stem)},
    rename=[DEEP_STEM, *NESTED],
    rename_static=[DEEP_STEM, NUMBERED_FC, *STATIC],
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
    rename_2_0=[DEEP_STEM, *NESTED],
    rename_static=[DEEP_STEM, NUMBERED_FC, *STATIC],
)
