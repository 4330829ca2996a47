"""ONNX Runtime runs on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy.engines import _onnxruntime
from ssld.deploy.engines.registry import ENGINES, Run, model_file


@ENGINES.register
@dataclass(frozen=True)
class OnnxRuntime:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "onnx", "fp16": "fp16", "int8": "int8"}

    def why_not(self) -> str | None:
        return None if find_spec("onnxruntime") else "onnxruntime is not installed; pip install 'ssld[engines]'"

    def load(self, folder: Path) -> Run:
        return _onnxruntime.session(model_file(self, folder), self.threads, [("CPUExecutionProvider", {})])
