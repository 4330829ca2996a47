"""Show a student's images to a teacher: its batch-norm mode, its input, and the gate before the first step."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ssld.config.recipe import Data
from ssld.distill.step import outputs_of_views, readable, shapes, weights_of
from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs, Precision
from ssld.losses.base import Shape
from ssld.losses.views import by_view
from ssld.models import BATCH_NORMS, outputs_of, taps_of

MODES = {"linear": "bilinear", "cubic": "bicubic"}


class TeacherLogits(nn.Layer):
    """Compute the logits [N, classes] of a frozen teacher from a student's images float32 [N, 3, S, S].

    With `norm='batch'` it normalises with the statistics of the batch, as the published SSLD runs did (76.00 top-1
    against 75.84 for a MobileNetV3_large student). Only batch norms switch to them; dropout stays off. Running
    statistics never change.

    `size`, `mean` and `std` are what the teacher expects. Where the student's differ, the same crop is converted and
    enlarged as the recipe's input pipeline enlarges. A teacher that saw other blur in its training loses points (1.9 on
    Fashion-MNIST, from 28 to 48 pixels, with bicubic for linear).

    `reads` has the names of the outputs that losses read. It sees only the views that these are of.
    """

    engine = "eager"

    def __init__(
        self, network: nn.Layer, norm: str, student: Data, size: int, mean: Sequence[float], std: Sequence[float],
        reads: Collection[str] = ("logits",),
    ):  # fmt: skip
        super().__init__()
        self.network, self.views = network, tuple(student.views)
        self.read(reads)
        self.gives = taps_of(network) | {"logits"}
        self.register_buffer("enlarge", _enlarge(student.size, size, MODES[student.interpolation]))
        self.scale, self.shift = _renormalise(student, mean, std)
        set_norm(network, norm)
        for parameter in network.parameters():
            parameter.stop_gradient = True

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self._seen(images))

    def _seen(self, images: Tensor) -> Tensor:
        """Convert the images to what the teacher expects."""
        if self.scale is not None:
            images = images * self.scale + self.shift
        if self.enlarge is not None:
            images = self.enlarge @ images @ self.enlarge.T
        return images

    def outputs(self, batch: Batch) -> Outputs:
        """Return, from one forward pass a view, the outputs that the losses read and the weights that a loss may
        read.
        """
        outputs = outputs_of_views(self._outputs, batch, self.passes)
        outputs.weights = weights_of(self.network, readable(self.network))
        return outputs

    def _outputs(self, images: Tensor, names: Collection[str]) -> Outputs:
        return outputs_of(self.network, self._seen(images), names)

    def shapes(self, names: Collection[str], size: int) -> dict[str, Shape]:
        """Return the shape of each of these outputs, without the batch.

        The images of the student have `size` pixels a side.
        """
        enlarged_size: int = size if self.enlarge is None else self.enlarge.shape[0]
        output_shapes: dict[str, Shape] = shapes(self.network, names, enlarged_size)
        return output_shapes

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, Shape]]:
        """Return no shapes, because there is only one teacher."""
        return {}

    def read(self, names: Collection[str]) -> None:
        """Compute the outputs of these names from now on."""
        self.passes = by_view(names, self.views)

    def labelled(self, batches: Iterable[Batch], precision: Precision = nullcontext) -> Iterator[Batch]:
        """Yield each batch with the teacher's outputs for its images under `teacher`. The outputs carry no gradient."""
        for batch in batches:
            with precision(), paddle.no_grad():
                outputs = self.outputs(batch)
            yield {**batch, "teacher": outputs}


def set_norm(network: nn.Layer, norm: str) -> None:
    """Set every layer to evaluation mode; for 'batch', batch norms use the statistics of the batch.

    Paddle keeps the share `momentum` of the old running statistic, so that 1.0 leaves it unchanged.
    """
    network.eval()
    for layer in network.sublayers() if norm == "batch" else ():
        if isinstance(layer, BATCH_NORMS):
            layer.training = True
            layer._momentum = 1.0


def gate(name: str, top1: float, claimed: float, images: int, points: float, skip: str = "teacher.gate=0") -> None:
    """Check that a teacher is as good as its card says, and stop before the first step where it is not.

    `top1` was measured on `images` validation images. It may fall below the number of the card by `points` plus two
    standard errors of such a sample. Raises RunError, which says how to `skip` this check.
    """
    error = 100 * math.sqrt(claimed / 100 * (1 - claimed / 100) / images)
    if top1 < claimed - points - 2 * error:
        raise RunError(
            f"teacher {name}: {top1:.2f} top-1 on {images} validation images, its card says {claimed:.2f}; check the "
            f"weights, the class order of the validation list and the card's input ({skip} skips this check)"
        )


def _enlarge(size: int, enlarged: int, mode: str) -> Tensor | None:
    """Return a matrix M [enlarged, size] so that M x M^T is x resized, for x [size, size].

    It is None when the sizes are equal. Resizing is linear, in rows and columns alike. The product runs in every
    engine; oneDNN fails on the resize itself.
    """
    if size == enlarged:
        return None
    rows = paddle.eye(size).reshape([1, 1, size, size])
    return F.interpolate(rows, size=[enlarged, size], mode=mode, align_corners=False)[0, 0]


def _renormalise(student: Data, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor | None, Tensor | None]:
    """Return factor and offset [1, 3, 1, 1] from the student's normalisation to the teacher's.

    Both are None when the normalisations are equal.
    """
    if tuple(mean) == tuple(student.mean) and tuple(std) == tuple(student.std):
        return None, None
    mean_s, std_s, mean_t, std_t = (
        paddle.to_tensor(v, dtype="float32").reshape([1, 3, 1, 1]) for v in (student.mean, student.std, mean, std)
    )
    return std_s / std_t, (mean_s - mean_t) / std_t
