"""The teacher's side of a distillation: its batch-norm mode, its input, and the gate before the first step."""

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ssld.config.recipe import Data
from ssld.deploy import BOUND, export_model, format_of, ready
from ssld.deploy.gate import difference, eager_logits
from ssld.errors import RunError
from ssld.models import Classifier

MODES = {"linear": "bilinear", "cubic": "bicubic"}
BATCH_NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)


class TeacherLogits:
    """images of the student [N, 3, S, S] -> logits [N, classes], without a gradient.

    `norm='batch'` normalises with the statistics of the batch, as the published SSLD runs did (76.00 top-1 against
    75.84 for a MobileNetV3_large student); only batch norms switch, dropout stays off. Running statistics are read-only
    either way.
    `size`, `mean`, `std` are what the teacher expects; where the student's differ, the same crop is converted, enlarged
    as the recipe's input pipeline enlarges: a teacher that saw other blur in its training loses points (1.9 on
    Fashion-MNIST, from 28 to 48 pixels, with bicubic for linear).
    """

    def __init__(self, network: nn.Layer, norm: str, student: Data, size: int, mean: Any, std: Any):
        self.network, self.size, self.mode = network, size, MODES[student.interpolation]
        self.scale, self.shift = _renormalise(student, mean, std)
        set_norm(network, norm)
        for parameter in network.parameters():
            parameter.stop_gradient = True

    @paddle.no_grad()
    def __call__(self, images: Any) -> Any:
        if self.scale is not None:
            images = images * self.scale + self.shift
        if images.shape[-1] != self.size:
            images = F.interpolate(images, size=[self.size, self.size], mode=self.mode, align_corners=False)
        return self.network(images).detach()


class Compiled(nn.Layer):
    """A network of the zoo in an inference engine of the CPU: images [N, 3, size, size] -> logits, running statistics.

    Raises RunError when the engine's logits are not those of the network, up to rounding.
    """

    def __init__(self, network: Classifier, engine: str, size: int):
        super().__init__()
        given = {"size": size, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": size}
        contract = {"arch": network.arch, "classes": network.num_classes, "digest": "teacher", "input": given}
        with tempfile.TemporaryDirectory(prefix="ssld-teacher-") as scratch:
            folder = Path(scratch) / "export"
            export_model(network, folder, name=network.arch, formats=[format_of(engine)], contract=contract)
            self.run = ready(engine).load(folder)
        images = np.random.default_rng(0).standard_normal((8, 3, size, size)).astype("float32")
        expected = eager_logits(network, images)
        if failure := difference(engine, expected, self.run(images), BOUND * float(np.abs(expected).max())):
            raise RunError(f"teacher {network.arch}: {failure}; set teacher.engine=eager")

    def forward(self, images: Any) -> Any:
        return paddle.to_tensor(self.run(images.numpy()))


def set_norm(network: nn.Layer, norm: str) -> None:
    """Everything in evaluation mode, but batch norms on batch statistics for 'batch'.

    Paddle keeps `momentum` of the old running statistic: 1.0 leaves it untouched.
    """
    network.eval()
    for layer in network.sublayers() if norm == "batch" else ():
        if isinstance(layer, BATCH_NORMS):
            layer.training = True
            layer._momentum = 1.0


def gate(name: str, top1: float, claimed: float, images: int, points: float) -> None:
    """Stop before the first step when a teacher is not what its card says.

    `top1` was measured on `images` validation images; the card's number may be missed by `points` plus two standard
    errors of such a sample. Raises RunError.
    """
    error = 100 * math.sqrt(claimed / 100 * (1 - claimed / 100) / images)
    if top1 < claimed - points - 2 * error:
        raise RunError(
            f"teacher {name}: {top1:.2f} top-1 on {images} validation images, its card says {claimed:.2f}; check the "
            "weights, the class order of the validation list and the card's input (teacher.gate=0 skips this check)"
        )


def _renormalise(student: Data, mean: Any, std: Any) -> tuple[Any, Any]:
    """Factor and offset [1, 3, 1, 1] from the student's normalisation to the teacher's; None when they are equal."""
    if tuple(mean) == tuple(student.mean) and tuple(std) == tuple(student.std):
        return None, None
    mean_s, std_s, mean_t, std_t = (
        paddle.to_tensor(v, dtype="float32").reshape([1, 3, 1, 1]) for v in (student.mean, student.std, mean, std)
    )
    return std_s / std_t, (mean_s - mean_t) / std_t
