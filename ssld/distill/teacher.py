"""The teacher's side of a distillation: its batch-norm mode, its input, and the gate before the first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ssld.config.recipe import Data
from ssld.distill.step import readable, shapes, weights_of
from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Shape
from ssld.models import outputs_of, taps_of

MODES = {"linear": "bilinear", "cubic": "bicubic"}
BATCH_NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)


class TeacherLogits(nn.Layer):
    """A frozen teacher on a student's images: float32 [N, 3, S, S] -> logits [N, classes].

    `norm='batch'` normalises with the statistics of the batch, as the published SSLD runs did (76.00 top-1 against
    75.84 for a MobileNetV3_large student); only batch norms switch, dropout stays off. Running statistics are read-only
    either way.
    `size`, `mean`, `std` are what the teacher expects; where the student's differ, the same crop is converted, enlarged
    as the recipe's input pipeline enlarges: a teacher that saw other blur in its training loses points (1.9 on
    Fashion-MNIST, from 28 to 48 pixels, with bicubic for linear).
    """

    engine = "eager"

    def __init__(
        self, network: nn.Layer, norm: str, student: Data, size: int, mean: Sequence[float], std: Sequence[float],
        reads: Collection[str] = ("logits",),
    ):  # fmt: skip
        super().__init__()
        self.network, self.reads = network, frozenset(reads)
        self.gives = taps_of(network) | {"logits"}
        self.register_buffer("enlarge", _enlarge(student.size, size, MODES[student.interpolation]))
        self.scale, self.shift = _renormalise(student, mean, std)
        set_norm(network, norm)
        for parameter in network.parameters():
            parameter.stop_gradient = True

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self._seen(images))

    def _seen(self, images: Tensor) -> Tensor:
        """The images as the teacher expects them."""
        if self.scale is not None:
            images = images * self.scale + self.shift
        if self.enlarge is not None:
            images = self.enlarge @ images @ self.enlarge.T
        return images

    def outputs(self, images: Tensor) -> Outputs:
        """The outputs that the losses read, in one forward pass, and the weights that a loss may read."""
        found = outputs_of(self.network, self._seen(images), self.reads)
        found.weights = weights_of(self.network, readable(self.network))
        return found

    def shapes(self, names: Collection[str], size: int) -> dict[str, Shape]:
        """The shape of each of these outputs, without the batch, for images of the student of `size` pixels a side."""
        seen: int = size if self.enlarge is None else self.enlarge.shape[0]
        found: dict[str, Shape] = shapes(self.network, names, seen)
        return found

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, Shape]]:
        """No teacher speaks apart here."""
        return {}

    def labelled(
        self, batches: Iterable[Batch], precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> Iterator[Batch]:
        """Each batch with the teacher's outputs for its images under `teacher`, without a gradient."""
        for batch in batches:
            with precision(), paddle.no_grad():
                outputs = self.outputs(batch["image"])
            yield {**batch, "teacher": outputs}


def set_norm(network: nn.Layer, norm: str) -> None:
    """Everything in evaluation mode, but batch norms on batch statistics for 'batch'.

    Paddle keeps `momentum` of the old running statistic: 1.0 leaves it untouched.
    """
    network.eval()
    for layer in network.sublayers() if norm == "batch" else ():
        if isinstance(layer, BATCH_NORMS):
            layer.training = True
            layer._momentum = 1.0


def gate(name: str, top1: float, claimed: float, images: int, points: float, skip: str = "teacher.gate=0") -> None:
    """Stop before the first step when a teacher is not what its card says.

    `top1` was measured on `images` validation images; the card's number may be missed by `points` plus two standard
    errors of such a sample. Raises RunError, which says how to `skip` this check.
    """
    error = 100 * math.sqrt(claimed / 100 * (1 - claimed / 100) / images)
    if top1 < claimed - points - 2 * error:
        raise RunError(
            f"teacher {name}: {top1:.2f} top-1 on {images} validation images, its card says {claimed:.2f}; check the "
            f"weights, the class order of the validation list and the card's input ({skip} skips this check)"
        )


def _enlarge(size: int, wanted: int, mode: str) -> Tensor | None:
    """[wanted, size]: a matrix M with M x M^T = x resized, for x [size, size]; None when the sizes are equal.

    Resizing is linear, in rows and columns alike. The product runs in every engine; oneDNN fails on the resize itself.
    """
    if size == wanted:
        return None
    rows = paddle.eye(size).reshape([1, 1, size, size])
    return F.interpolate(rows, size=[wanted, size], mode=mode, align_corners=False)[0, 0]


def _renormalise(student: Data, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor | None, Tensor | None]:
    """Factor and offset [1, 3, 1, 1] from the student's normalisation to the teacher's; None when they are equal."""
    if tuple(mean) == tuple(student.mean) and tuple(std) == tuple(student.std):
        return None, None
    mean_s, std_s, mean_t, std_t = (
        paddle.to_tensor(v, dtype="float32").reshape([1, 3, 1, 1]) for v in (student.mean, student.std, mean, std)
    )
    return std_s / std_t, (mean_s - mean_t) / std_t
