"""ResNeXt-101 from 940M hashtagged images: Exploring the limits of weakly supervised pretraining. arXiv:1805.00932

The Fix variant is the 48d network fine-tuned for 320 pixels: Fixing the train-test resolution discrepancy.
arXiv:1906.06423
"""

from ssld.models.base import Family
from ssld.models.resnet import Bottleneck, ResNet

_BLOCKS = dict(block=Bottleneck, depths=(3, 4, 23, 3), groups=32)

Family(
    "resnext101_wsl",
    ResNet,
    variants={
        "ResNeXt101_32x8d_wsl": dict(group_width=8, **_BLOCKS),
        "ResNeXt101_32x16d_wsl": dict(group_width=16, **_BLOCKS),
        "ResNeXt101_32x32d_wsl": dict(group_width=32, **_BLOCKS),
        "ResNeXt101_32x48d_wsl": dict(group_width=48, **_BLOCKS),
    },
    rename=[
        (r"^stem\.0", "_conv_stem"),
        (r"^stages\.\d\.(\d+)\.body\.(\d)", "_conv{stage}_{0}._conv{1}"),
        (r"^stages\.\d\.(\d+)\.shortcut", "_conv{stage}_{0}._short._conv"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._bn."),
        (r"^head\.fc", "_out"),
    ],
    rename_static=[  # the names of the PyTorch weights that the published ones were converted from
        (r"^stem\.0\.(conv|bn)", "{0}1"),
        (r"^stages\.\d", "layer{stage}"),
        (r"body\.(\d)\.(conv|bn)", "{1}{0:+1}"),
        (r"shortcut\.conv", "downsample.0"),
        (r"shortcut\.bn", "downsample.1"),
        (r"\._mean", ".running_mean"),
        (r"\._variance", ".running_var"),
        (r"^head\.", ""),
    ],
)
