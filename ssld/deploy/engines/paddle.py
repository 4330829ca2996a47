"""Paddle Inference on the CPU with Paddle's own kernels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ssld.deploy.engines import _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run


@ENGINES.register
@dataclass(frozen=True)
class PaddleNative:
    threads: int = 1
    suffix: ClassVar[str] = ".json"
    precision: ClassVar[str] = "fp32"

    def why_not(self) -> str | None:
        return _paddle_inference.why_not()

    def load(self, folder: Path) -> Run:
        return _paddle_inference.predictor(folder, self.threads, onednn=False)
