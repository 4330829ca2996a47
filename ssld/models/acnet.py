"""ACNet: Strengthening the kernel skeletons for powerful CNN via asymmetric convolution blocks. arXiv:1908.03930

It is the deployed form, in which the 3x3, 3x1 and 1x3 convolutions of training and their BN are one 3x3 convolution
with a bias.
"""

from paddle import nn

from ssld.models.base import Family
from ssld.models.resnet import NESTED, NUMBERED_FC, STATIC, Bottleneck, ResNet


def fused(width_in: int, width: int, kernel: int, stride: int) -> nn.Sequential:
    """Make what an asymmetric block becomes: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""
    conv = nn.Conv2D(width_in, width, kernel, stride, (kernel - 1) // 2)
    return nn.Sequential(("conv", conv), ("act", nn.ReLU()))


def fused_stem(width: int) -> nn.Sequential:
    """Make the stem: [N, 3, H, W] -> [N, width, H / 4, W / 4]."""
    return nn.Sequential(fused(3, width, 7, 2), nn.MaxPool2D(3, 2, 1))


class FusedBottleneck(Bottleneck):
    """Apply a bottleneck whose 3x3 convolution is fused.

    The 1x1 convolutions have no asymmetric form and keep their BN.
    """

    @staticmethod
    def middle(width: int, stride: int, groups: int) -> nn.Layer:
        return fused(width, width, 3, stride)


Family(
    "acnet",
    ResNet,
    variants={"ResNet50_ACNet_deploy": dict(block=FusedBottleneck, depths=(3, 4, 6, 3), stem=fused_stem)},
    # No 2.x code has this network; these are the names that 2.0 would have given it.
    rename=[(r"^stem\.0", "conv"), (r"^stages\.\d\.\d+", "res{stage:+1}{letter}"), *NESTED],
    rename_static=[
        (r"^stem\.0", "conv1"),
        (r"(^conv1|body\.1)\.conv\.weight", "{0}_acsquare_weights"),
        (r"(^conv1|body\.1)\.conv\.bias", "{0}_acsquare_bias"),
        NUMBERED_FC,
        *STATIC,
    ],
)
