"""ResNeXt: Aggregated residual transformations for deep neural networks. arXiv:1611.05431

The vd networks have the stem and the shortcuts of ResNet-D: Bag of tricks for image classification with convolutional
neural networks. arXiv:1812.01187
"""

from ssld.models.base import Family
from ssld.models.layers import deep_stem, pooled_projection
from ssld.models.resnet import DEEP_STEM, NESTED, STATIC, Bottleneck, ResNet

_4D = dict(block=Bottleneck, group_width=4)
_VD = dict(stem=deep_stem, shortcut=pooled_projection, **_4D)

Family(
    "resnext",
    ResNet,
    variants={
        "ResNeXt50_32x4d": dict(depths=(3, 4, 6, 3), groups=32, **_4D),
        "ResNeXt50_64x4d": dict(depths=(3, 4, 6, 3), groups=64, **_4D),
        "ResNeXt101_32x4d": dict(depths=(3, 4, 23, 3), groups=32, **_4D),
        "ResNeXt101_64x4d": dict(depths=(3, 4, 23, 3), groups=64, **_4D),
        "ResNeXt152_32x4d": dict(depths=(3, 8, 36, 3), groups=32, **_4D),
        "ResNeXt152_64x4d": dict(depths=(3, 8, 36, 3), groups=64, **_4D),
    },
    rename=[(r"^stem\.0", "conv"), *NESTED],
    rename_static=[(r"^stem\.0", "res_conv1"), *STATIC, (r"^head\.fc", "fc")],
)

Family(
    "resnext_vd",
    ResNet,
    variants={
        "ResNeXt50_vd_32x4d": dict(depths=(3, 4, 6, 3), groups=32, **_VD),
        "ResNeXt50_vd_64x4d": dict(depths=(3, 4, 6, 3), groups=64, **_VD),
        "ResNeXt101_vd_32x4d": dict(depths=(3, 4, 23, 3), groups=32, **_VD),
        "ResNeXt101_vd_64x4d": dict(depths=(3, 4, 23, 3), groups=64, **_VD),
        "ResNeXt152_vd_32x4d": dict(depths=(3, 8, 36, 3), groups=32, **_VD),
        "ResNeXt152_vd_64x4d": dict(depths=(3, 8, 36, 3), groups=64, **_VD),
    },
    rename=[DEEP_STEM, *NESTED],
    rename_static=[DEEP_STEM, *STATIC, (r"^head\.fc", "fc")],
)
