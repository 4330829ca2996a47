"""DarkNet-53: YOLOv3: an incremental improvement. arXiv:1804.02767 (table 1)"""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import nn

from ssld.models.base import Classifier, Family
from ssld.models.layers import ConvBN, PooledLinear


class Residual(nn.Sequential):
    """Halve the width in a 1x1, restore it in a 3x3, add: [N, width, H, W] -> the same shape."""

    def __init__(self, width: int):
        super().__init__(_conv(width, width // 2, 1), _conv(width // 2, width, 3))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return x + super().forward(x)


class DarkNet(Classifier):
    """Classify images; `depths` counts the residual blocks of the stages.

    Each stage first halves the map and doubles the width.
    """

    def __init__(self, depths: Sequence[int], num_classes: int, in_size: int):
        super().__init__(num_classes, in_size)
        width = 32
        self.stem, self.stages = _conv(3, width, 3), nn.LayerList()
        for depth in depths:
            down, width = _conv(width, 2 * width, 3, 2), 2 * width
            self.stages.append(nn.Sequential(down, *(Residual(width) for _ in range(depth))))
        self.head = PooledLinear(width, num_classes)


def _conv(width_in: int, width: int, kernel: int, stride: int = 1) -> ConvBN:
    return ConvBN(width_in, width, kernel, stride, act=nn.ReLU)  # ReLU as published; the paper's is leaky


Family(
    "darknet",
    DarkNet,
    variants={"DarkNet53": dict(depths=(1, 2, 8, 8, 4))},
    rename=[
        (r"^stem", "_conv1"),
        (r"^stages\.0\.0", "_conv2"),
        (r"^stages\.(\d)\.0", "_downsample_{0:-1}"),
        (r"^stages\.(\d)\.(\d)\.(\d)", "_basic_block_{0}{1}._conv{2:+1}"),
        (r"\.conv\.", "._conv."),
        (r"\.bn\.", "._bn."),
        (r"^head\.fc", "_out"),
    ],
    rename_static=[
        (r"^stem", "yolo_input"),
        (r"^stages\.0\.0", "yolo_input.downsample"),
        (r"^stages\.(\d)\.0", "stage.{0:-1}.downsample"),
        (r"^stages\.(\d)\.(\d)", "stage.{0}.{1:-1}"),
        (r"conv\.weight", "conv.weights"),
        (r"bn\.weight", "bn.scale"),
        (r"bn\.bias", "bn.offset"),
        (r"bn\._mean", "bn.mean"),
        (r"bn\._variance", "bn.var"),
        (r"^head\.fc\.weight", "fc_weights"),
        (r"^head\.fc\.bias", "fc_offset"),
    ],
)
