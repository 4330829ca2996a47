"""Define branches that make logits of the maps of a convolutional student, see `losses/logit/ofa.py`.

`losses/self_/byot.py` has them too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from paddle import Tensor, nn
from paddle.nn.initializer import KaimingNormal, TruncatedNormal

from ssld.errors import RecipeError
from ssld.losses.base import Shape


class Branches(nn.Layer):
    """Make logits, [N, classes], of the maps [N, C, H, W] of each of some stages.

    A block halves a map; a stage whose map is 2^n times as large as the last map has n blocks, each of which doubles
    the channels but for the last one, which ends in `width`. A map of the size of the last one has a 1x1 convolution to
    `width`. Then come the mean over the map and a linear layer. Convolutions begin with normal weights by their
    fan-out, the linear layer with a truncated normal of deviation 0.02, as in the official code.
    """

    def __init__(self, shapes: Sequence[Shape], last: Shape, width: int, classes: int):
        super().__init__()
        for shape in shapes:
            if len(shape) != 3:
                raise RecipeError(f"student: a tap of shape {shape} is no map (C, H, W); name other taps")
        self.bodies = nn.LayerList(_body(shape, last, width) for shape in shapes)
        self.heads = nn.LayerList(nn.Linear(width, classes, weight_attr=TruncatedNormal(std=0.02)) for _ in shapes)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [logits for _, logits in self.vectors_and_logits(maps)]

    def vectors_and_logits(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return of each map the vector that its branch ends in, [N, width], and the logits of that, [N, classes]."""
        bodies = zip(self.bodies, maps, strict=True)
        vectors = [body(features).mean([2, 3]) for body, features in bodies]
        return [(vector, head(vector)) for vector, head in zip(vectors, self.heads, strict=True)]


def _body(shape: Shape, last: Shape, width: int) -> nn.Layer:
    halvings = round(math.log2(max(shape[1] / last[1], 1.0)))
    if halvings == 0:
        return nn.Conv2D(shape[0], width, 1, weight_attr=KaimingNormal(mode="fan_out"))
    widths = [*(shape[0] * 2**number for number in range(halvings)), width]
    return nn.Sequential(*(_block(*pair) for pair in pairwise(widths)))


def _block(width_in: int, width: int) -> nn.Layer:
    """Make two separable convolutions, the first one at stride 2: [N, width_in, H, W] -> [N, width, H / 2, W / 2]."""
    return nn.Sequential(*_separable(width_in, width_in, stride=2), *_separable(width_in, width, stride=1))


def _separable(width_in: int, width: int, stride: int) -> list[nn.Layer]:
    conv = partial(nn.Conv2D, weight_attr=KaimingNormal(mode="fan_out"), bias_attr=False)
    depthwise = conv(width_in, width_in, 3, stride, 1, groups=width_in)
    return [depthwise, conv(width_in, width, 1), nn.BatchNorm2D(width), nn.ReLU()]
