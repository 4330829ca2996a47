"""Paddle Inference runs a program of Paddle 2 (old IR) on the CPU, which checks that format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy.engines import _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run, model_file


@ENGINES.register
@dataclass(frozen=True)
class Paddle2:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "paddle2"}

    def why_not(self) -> str | None:
        return _paddle_inference.why_not()

    def load(self, folder: Path) -> Run:
        configure = _paddle_inference.on_cpu(self.threads, onednn=False)
        return _paddle_inference.predictor(model_file(self, folder), configure)
