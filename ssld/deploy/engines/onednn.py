"""Paddle Inference runs on the CPU with oneDNN kernels (x86)."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy.engines import _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run, model_file


@ENGINES.register
@dataclass(frozen=True)
class PaddleOneDNN:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "paddle", "int8": "paddle2_int8"}

    def why_not(self) -> str | None:
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return f"Paddle has oneDNN on x86 only, this is {platform.machine()}; use onnxruntime"
        return _paddle_inference.why_not()

    def load(self, folder: Path) -> Run:
        configure = _paddle_inference.on_cpu(self.threads, onednn=True, int8=self.precision == "int8")
        return _paddle_inference.predictor(model_file(self, folder), configure)
