"""TensorRT on an NVIDIA GPU, built from the ONNX file when it is loaded."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy import contract as contracts
from ssld.deploy.engines import _gpu, _tensorrt
from ssld.deploy.engines.registry import ENGINES, Run, model_file


@ENGINES.register
@dataclass(frozen=True)
class TensorRT:
    threads: int = 1
    precision: str = "fp32"
    batches: _gpu.Three = (1, 1, 32)
    pixels: _gpu.Three | None = None
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "onnx", "fp16": "fp16", "int8": "int8"}

    def why_not(self) -> str | None:
        return _tensorrt.why_not()

    def load(self, folder: Path) -> Run:
        source = model_file(self, folder)
        shapes = _gpu.profile(contracts.read(folder), self.batches, self.pixels)
        with tempfile.TemporaryDirectory(prefix="ssld-tensorrt-") as scratch:
            plan = Path(scratch) / "model.plan"
            _tensorrt.build(source, plan, shapes)
            return _tensorrt.load(plan)
