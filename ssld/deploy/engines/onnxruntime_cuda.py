"""ONNX Runtime runs on an NVIDIA GPU with its CUDA kernels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy.engines import _onnxruntime
from ssld.deploy.engines.registry import ENGINES, Run, model_file

CUDA: _onnxruntime.Provider = ("CUDAExecutionProvider", {"device_id": "0", "use_tf32": "0"})


@ENGINES.register
@dataclass(frozen=True)
class OnnxRuntimeCUDA:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "onnx", "fp16": "fp16"}

    def why_not(self) -> str | None:
        return _onnxruntime.why_not_on_gpu("cuda")

    def load(self, folder: Path) -> Run:
        file = model_file(self, folder)
        _onnxruntime.load_cuda()
        return _onnxruntime.session(file, self.threads, [CUDA])
