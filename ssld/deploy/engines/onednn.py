"""Paddle Inference on the CPU with oneDNN kernels (x86)."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ssld.deploy.engines import _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run


@ENGINES.register
@dataclass(frozen=True)
class PaddleOneDNN:
    threads: int = 1
    suffix: ClassVar[str] = ".json"
    precision: ClassVar[str] = "fp32"

    def why_not(self) -> str | None:
        if platform.machine().lower() not in ("x86_64", "amd64"):
            return f"Paddle has oneDNN on x86 only, this is {platform.machine()}; use onnxruntime"
        return _paddle_inference.why_not()

    def load(self, folder: Path) -> Run:
        return _paddle_inference.predictor(folder, self.threads, onednn=True)
