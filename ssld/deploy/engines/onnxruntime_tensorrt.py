"""ONNX Runtime runs on an NVIDIA GPU: TensorRT takes what it can, CUDA kernels do the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from ssld.deploy import contract as contracts
from ssld.deploy.engines import _gpu, _onnxruntime
from ssld.deploy.engines.onnxruntime_cuda import CUDA
from ssld.deploy.engines.registry import ENGINES, Run, model_file
from ssld.paths import cache_root


@ENGINES.register
@dataclass(frozen=True)
class OnnxRuntimeTensorRT:
    threads: int = 1
    precision: str = "fp32"
    batches: _gpu.Three = (1, 1, 32)
    pixels: _gpu.Three | None = None
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "onnx", "fp16": "fp16", "int8": "int8"}

    def why_not(self) -> str | None:
        return _onnxruntime.why_not_on_gpu("tensorrt")

    def load(self, folder: Path) -> Run:
        file, contract = model_file(self, folder), contracts.read(folder)
        _onnxruntime.load_cuda()
        return _onnxruntime.session(file, self.threads, [("TensorrtExecutionProvider", self.options(contract)), CUDA])

    def options(self, contract: dict[str, Any]) -> dict[str, Any]:
        """Return the keys of the provider.

        Source: onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html.
        """
        cache = cache_root() / "onnxruntime"
        cache.mkdir(parents=True, exist_ok=True)
        shapes = _gpu.profile(contract, self.batches, self.pixels)
        low, best, high = ("image:" + "x".join(map(str, shape)) for shape in shapes)
        return {
            "trt_profile_min_shapes": low,
            "trt_profile_opt_shapes": best,
            "trt_profile_max_shapes": high,
            "device_id": "0",
            "trt_fp16_enable": self.precision == "fp16",
            "trt_int8_enable": self.precision == "int8",
            "trt_timing_cache_enable": True,
            "trt_timing_cache_path": str(cache),
        }
