"""Define attention and projectors of semantic calibration, see `losses/feature/semckd.py`."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
from paddle import Tensor, nn
from paddle.nn.functional import softmax

from ssld.errors import RunError
from ssld.losses.base import Shape
from ssld.losses.functions import match, unit
from ssld.losses.layers.regressor import Bottleneck, side


class Embedding(nn.Sequential):
    """Embed rows of a similarity matrix as vectors of length 1: [N, images] -> [N, width]."""

    def __init__(self, images: int, width: int):
        super().__init__(nn.Linear(images, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        return unit(super().forward(x))


class Calibration(nn.Layer):
    """Weigh and compare S taps of the student and T of the teacher, for micro-batches of `images` images."""

    def __init__(self, student: Sequence[Shape], teacher: Sequence[Shape], images: int, width: int):
        super().__init__()
        self.images = images
        self.queries = nn.LayerList(Embedding(images, width) for _ in student)
        self.keys = nn.LayerList(Embedding(images, width) for _ in teacher)
        widths_s, widths_t = [side(shape)[0] for shape in student], [side(shape)[0] for shape in teacher]
        self.projectors = nn.LayerList(
            nn.LayerList(Bottleneck(width_s, 2 * width_t, width_t, normed=False) for width_t in widths_t)
            for width_s in widths_s
        )

    def attention(self, student: Sequence[Tensor], teacher: Sequence[Tensor], temperature: float) -> Tensor:
        """Return [N, S, T], which sum to 1 over the T.

        It raises RunError for another number of images than a micro-batch has.
        """
        if student[0].shape[0] != self.images:
            what = f"{student[0].shape[0]} images in a micro-batch, and its layers take {self.images}"
            raise RunError(f"loss semckd: {what}; keep the size of the micro-batches within a stage")
        queries = paddle.stack([layer(_alike(x)) for layer, x in zip(self.queries, student, strict=True)], axis=1)
        keys = paddle.stack([layer(_alike(x)) for layer, x in zip(self.keys, teacher, strict=True)], axis=1)
        return softmax(queries @ keys.transpose([0, 2, 1]) / temperature, axis=-1)

    def gaps(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """Return [N, S, T]: the mean squared gap of every projected map to every map."""
        rows = []
        for map_s, projectors in zip(student, self.projectors, strict=True):
            pairs = [(project, *match(map_s, map_t)) for project, map_t in zip(projectors, teacher, strict=True)]
            gaps = [(project(x) - target).square().mean(axis=[1, 2, 3]) for project, x, target in pairs]
            rows.append(paddle.stack(gaps, axis=1))
        return paddle.stack(rows, axis=1)


def _alike(maps: Tensor) -> Tensor:
    """Return the similarities of the images: [N, C, H, W] -> [N, N]."""
    flat = maps.flatten(1)
    return flat @ flat.T
