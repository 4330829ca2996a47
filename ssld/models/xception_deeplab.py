"""Xception of DeepLab: Encoder-decoder with atrous separable convolution for image segmentation. arXiv:1802.02611

Unlike in `xception` the depthwise convolution comes first, a block has three convolutions and strides in the last one
instead of pooling, the shortcut has BN, and the last three convolutions are dilated. The linear layer starts as
Paddle's do.
"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.models.base import Family, Rule
from ssld.models.convolution import DepthwiseConv2D
from ssld.models.xception import ENTRY, Block, Xception


def normed(conv: nn.Conv2D, act: type | None = None) -> nn.Sequential:
    bn = nn.BatchNorm2D(conv.weight.shape[0], momentum=0.99, epsilon=1e-3)  # the published statistics belong to these
    return nn.Sequential(("conv", conv), ("bn", bn), *([("act", act())] if act else []))


def separable(depthwise: nn.Conv2D, width: int, act: type | None = None) -> nn.Sequential:
    """Filter each channel, then mix them: [N, C, H, W] -> [N, width, H', W']."""
    mix = nn.Conv2D(depthwise.weight.shape[0], width, 1, bias_attr=False)
    return nn.Sequential(("filter", normed(depthwise, act)), ("point", normed(mix, act)))


def strided(width_in: int, widths: Sequence[int], stride: int) -> Block:
    """Make a block of three convolutions, the last of which strides: [N, width_in, H, W] -> [N, widths[-1], H', W']."""
    rows = zip([width_in, *widths[:2]], widths, [1, 1, stride], strict=True)
    body = [separable(DepthwiseConv2D(before, 3, step), width) for before, width, step in rows]
    same = (stride, widths[-1]) == (1, width_in)
    shortcut = nn.Identity() if same else normed(nn.Conv2D(width_in, widths[-1], 1, stride, bias_attr=False))
    return Block(body, shortcut, nn.Identity())


def stem() -> nn.Sequential:
    """Make the stem: [N, 3, H, W] -> [N, 64, H / 2, W / 2]."""
    convs = nn.Conv2D(3, 32, 3, 2, 1, bias_attr=False), nn.Conv2D(32, 64, 3, 1, 1, bias_attr=False)
    return nn.Sequential(*(normed(conv, nn.ReLU) for conv in convs))


def dilated_tail() -> nn.Sequential:
    """Make the tail: [N, 1024, H, W] -> [N, 2048, H, W]."""
    convs = []
    for width_in, width in ((1024, 1536), (1536, 1536), (1536, 2048)):
        conv = nn.Conv2D(width_in, width_in, 3, padding=2, dilation=2, groups=width_in, bias_attr=False)
        convs.append(separable(conv, width, nn.ReLU))
    return nn.Sequential(*convs)


def dropped(width: int, num_classes: int) -> nn.Sequential:
    """Make the head: [N, width, H, W] -> [N, num_classes]."""
    return nn.Sequential(
        # Pixels are dropped before the pool, as published weights expect.
        ("drop", nn.Dropout(0.5, mode="downscale_in_infer")),
        ("pool", nn.AdaptiveAvgPool2D(1)),
        ("flatten", nn.Flatten()),
        ("fc", nn.Linear(width, num_classes)),
    )


DEEPLAB = dict(entry=ENTRY, convs=3, stem=stem, block=strided, tail=dilated_tail, head=dropped)


for depth, middle in ((41, 8), (65, 16)):  # each is a family, for the published keys name the depth
    root = f"xception_{depth}"
    flows: list[Rule] = [
        (r"^stages\.[012]\.0\.", f"{root}/entry_flow/block{{stage}}."),
        (r"^stages\.2\.\d+\.", f"{root}/middle_flow/block{{block}}."),
    ]
    Family(
        "xception_deeplab",
        Xception,
        variants={f"Xception{depth}_deeplab": dict(middle=middle, **DEEPLAB)},
        rename=[
            (r"^stem\.0", "_conv1"),
            (r"^stem\.1", "_conv2"),
            *flows,
            (r"^stages\.3\.0\.", "_exit_flow_1."),
            (r"^stages\.3\.1\.", "_exit_flow_2.body."),
            (r"\.body\.(\d)", "._conv{0:+1}"),
            (r"\.shortcut", "._short"),
            (r"\.filter\.(conv|bn)", "._{0}1"),
            (r"\.point\.(conv|bn)", "._{0}2"),
            (r"\.(conv|bn)\.", "._{0}."),
            (r"^head\.fc", "_fc"),
        ],
        rename_static=[
            (r"^stem\.0", f"{root}/entry_flow/conv1"),
            (r"^stem\.1", f"{root}/entry_flow/conv2"),
            *flows,
            (r"^stages\.3\.0\.", f"{root}/exit_flow/block1."),
            (r"^stages\.3\.1\.", f"{root}/exit_flow/block2.body."),
            (r"\.body\.(\d)", "/separable_conv{0:+1}"),
            (r"\.shortcut", "/shortcut"),
            (r"\.filter", "/depthwise"),
            (r"\.point", "/pointwise"),
            (r"\.conv\.weight", "/weights"),
            (r"\.bn\.weight", "/BatchNorm/gamma"),
            (r"\.bn\.bias", "/BatchNorm/beta"),
            (r"\.bn\._", "/BatchNorm/moving_"),
            (r"^head\.fc\.weight", "fc_weights"),
            (r"^head\.fc\.bias", "fc_bias"),
        ],
    )
