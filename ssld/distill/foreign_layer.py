"""Wrap a network that another framework made as a layer.

It is called like a network of the zoo, and nothing of it is trained.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import paddle
from paddle import Tensor, nn

from ssld.config.teachers import Teacher
from ssld.foreign import ForeignNetwork, OnnxNetwork, PaddleProgram
from ssld.runtime import Runtime, cores


class ForeignLayer(nn.Layer):
    """Compute logits float32 [N, classes] from images float32 [N, 3, S, S].

    The images have the network's own size and normalisation. `outputs` gives the named tensors of the network as taps.
    The outputs carry no gradient, and the layer has no parameters.
    """

    def __init__(self, network: ForeignNetwork, arch: str):
        super().__init__()
        self._network, self.arch = network, arch
        self.num_classes = network.classes
        self.taps = tuple(name for name in network.gives if name != "logits")

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs(images)["logits"]

    def outputs(self, images: Tensor, taps: Collection[str] = ()) -> dict[str, Tensor]:
        """Return the `logits` and the taps of these names."""
        arrays = self._network(images.astype("float32").numpy())
        return {name: paddle.to_tensor(arrays[name]) for name in ("logits", *taps)}

    def identity(self) -> dict[str, object]:
        """Return what the outputs depend on.

        It is the kind, the sha256 of each file, the classes, and what the recipe says of the network.
        """
        return dict(self._network.identity())


def open_foreign(teacher: Teacher, classes: int, runtime: Runtime) -> ForeignLayer:
    """Open the network of a teacher whose source is `onnx` or `program`, and try it on drawn images.

    Raises RecipeError where the network is not what the recipe says of it, and RunError where it cannot be read or run.
    """
    threads = max(1, cores() // runtime.world)
    network_class = OnnxNetwork if teacher.onnx else PaddleProgram
    file = str(teacher.onnx or teacher.program)
    return ForeignLayer(network_class(file, teacher.spec, classes, threads, runtime.gpu), Path(file).stem)
