"""Paddle Inference runs on an NVIDIA GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy.engines import _gpu, _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run, model_file


@ENGINES.register
@dataclass(frozen=True)
class PaddleGPU:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "paddle", "fp16": "paddle"}

    def why_not(self) -> str | None:
        return _gpu.why_not({"paddle": "paddlepaddle-gpu"})

    def load(self, folder: Path) -> Run:
        file = model_file(self, folder)
        return _paddle_inference.predictor(file, partial(_paddle_inference.on_gpu, precision=self.precision))
