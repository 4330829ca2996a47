"""RegNetX: Designing network design spaces. arXiv:2003.13678"""

from __future__ import annotations

from collections.abc import Sequence

from paddle import nn

from ssld.models.base import Classifier, Family
from ssld.models.layers import ConvBN, PooledLinear
from ssld.models.taps import Summed


class Block(Summed):
    """Apply a 1x1, a grouped 3x3, a 1x1 and a shortcut: [N, width_in, H, W] -> [N, width, H / stride, W / stride]."""

    def __init__(self, width_in: int, width: int, stride: int, group_width: int, bias: bool):
        super().__init__()
        self.body = nn.Sequential(
            ConvBN(width_in, width, 1, act=nn.ReLU, bias=bias),
            ConvBN(width, width, 3, stride, width // group_width, act=nn.ReLU, bias=bias),
            ConvBN(width, width, 1, bias=bias),
        )
        self.shortcut = ConvBN(width_in, width, 1, stride, bias=bias) if stride > 1 else nn.Identity()


class RegNet(Classifier):
    """Classify images. `depths` and `widths` are those of the stages, every one of which halves the resolution."""

    def __init__(
        self,
        depths: Sequence[int],
        widths: Sequence[int],
        group_width: int,
        num_classes: int,
        in_size: int,
        bias: bool = False,
    ):
        super().__init__(num_classes, in_size)
        width_in = 32
        self.stem, self.stages = ConvBN(3, width_in, 3, 2, act=nn.ReLU, bias=bias), nn.LayerList()
        for depth, width in zip(depths, widths, strict=True):
            first = Block(width_in, width, 2, group_width, bias)
            rest = [Block(width, width, 1, group_width, bias) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(first, *rest))
            width_in = width
        self.head = PooledLinear(width_in, num_classes)


Family(
    "regnet",
    RegNet,
    variants={"RegNetX_4GF": dict(depths=(2, 5, 14, 2), widths=(80, 240, 560, 1360), group_width=40)},
    old={"RegNetX_4GF": dict(bias=True)},  # biases before a BN change nothing, but the files have them
    rename=[
        (r"^stem", "conv"),
        (r"^stages\.\d\.\d+", "s{stage}_b{block:+1}"),
        (r"\.body\.", ".conv"),
        (r"\.shortcut", ".short"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._batch_norm."),
        (r"^head\.fc", "out"),
    ],
    rename_static=[
        (r"^stem", "stem_conv"),
        (r"^stages\.\d\.\d+", "s{stage}_b{block:+1}"),
        (r"\.body\.(\d)", lambda match, _: "_branch2" + "abc"[int(match[1])]),
        (r"\.shortcut", "_branch1"),
        (r"\.bn\._", "_bn_"),
        (r"\.bn\.", "_bn.output.1."),
        (r"\.conv\.", ".conv2d.output.1."),
        (r"^head\.fc", "fc_0"),
        (r"\.(w|b)\w+$", ".{0}_0"),
    ],
)
