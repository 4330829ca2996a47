"""Keep what the student said of every training image when it last saw it, see `losses/self_/pskd.py`."""

from __future__ import annotations

import math

import paddle
from paddle import Tensor, nn

from ssld.losses.base import About
from ssld.losses.layers.memory import Memory
from ssld.runtime import Runtime


class Predictions(nn.Layer):
    """Keep probabilities, [images, classes], all 0 in the row of an image that was not seen. epochs: of the stage."""

    def __init__(self, about: About):
        super().__init__()
        self.epochs = math.ceil(about.steps / about.steps_per_epoch)
        self.memory = Memory(paddle.zeros([about.images, about.student["logits"][-1]]))

    def forward(self, index: Tensor, instead: Tensor) -> Tensor:
        """Return [N, classes] of images int64 [N]; of those that were not seen, `instead`."""
        rows = self.memory.read(index).astype(instead.dtype)
        return paddle.where(rows.sum(axis=1, keepdim=True) > 0, rows, instead)

    def write(self, index: Tensor, probabilities: Tensor) -> None:
        """Keep these for the images, when the step is made."""
        self.memory.write(index, probabilities)

    def after_step(self, runtime: Runtime) -> None:
        for index, value in self.memory.take(runtime):
            self.memory.set(index, value)
