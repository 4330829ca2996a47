"""A network that another framework made, as a layer: it is asked like one of ours, and nothing of it is trained."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import paddle
from paddle import Tensor, nn

from ssld.config.teachers import Teacher
from ssld.foreign import ForeignNetwork, OnnxNetwork, PaddleProgram
from ssld.runtime import Runtime, cores


class ForeignLayer(nn.Layer):
    """Images float32 [N, 3, S, S] of the network's own size and normalisation -> logits float32 [N, classes].

    `outputs` gives its named tensors as taps. It carries no gradient and has no parameters.
    """

    def __init__(self, network: ForeignNetwork, arch: str):
        super().__init__()
        self._network, self.arch = network, arch
        self.num_classes = network.classes
        self.taps = tuple(name for name in network.gives if name != "logits")

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images)["logits"]

    def outputs(self, images: Tensor, taps: Collection[str] = ()) -> dict[str, Tensor]:
        """The `logits` and these taps."""
        arrays = self._network(images.astype("float32").numpy())
        return {name: paddle.to_tensor(arrays[name]) for name in ("logits", *taps)}

    def identity(self) -> dict[str, Any]:
        """What its outputs depend on: kind, sha256 of each file, classes, and what the recipe says of it."""
        return dict(self._network.identity())


def open_foreign(teacher: Teacher, classes: int, runtime: Runtime) -> ForeignLayer:
    """The network of a teacher whose source is `onnx` or `program`, tried on drawn images.

    Raises RecipeError where it is not what the recipe says of it, RunError where it cannot be read or run.
    """
    threads = max(1, cores() // runtime.world)
    kind = OnnxNetwork if teacher.onnx else PaddleProgram
    file = str(teacher.onnx or teacher.program)
    return ForeignLayer(kind(file, teacher.spec, classes, threads, runtime.gpu), Path(file).stem)
