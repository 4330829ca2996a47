"""Paddle Inference runs with TensorRT in the way of Paddle 3: `paddle.tensorrt.convert` converts the program."""

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from ssld.deploy import contract as contracts
from ssld.deploy.child_process import run_module
from ssld.deploy.engines import _gpu, _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run, model_file

CONVERT_SECONDS = 3600.0


@ENGINES.register
@dataclass(frozen=True)
class PaddleTensorRT:
    threads: int = 1
    precision: str = "fp32"
    batches: _gpu.Three = (1, 1, 32)
    pixels: _gpu.Three | None = None
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "paddle", "fp16": "paddle"}

    def why_not(self) -> str | None:
        return _gpu.why_not({"paddle": "paddlepaddle-gpu", "tensorrt": "tensorrt"})

    def load(self, folder: Path) -> Run:
        source, contract = model_file(self, folder), contracts.read(folder)
        shapes = json.dumps(_gpu.profile(contract, self.batches, self.pixels))
        with tempfile.TemporaryDirectory(prefix="ssld-tensorrt-") as scratch:
            target = Path(scratch) / "converted.json"
            arguments = [str(source), str(target), self.precision, shapes, contract["input"].get("dtype", "float32")]
            run_module(__name__, arguments, what=f"{source}: paddle.tensorrt", seconds=CONVERT_SECONDS)
            return _paddle_inference.predictor(target, _paddle_inference.on_gpu)


def main(source: str, target: str, precision: str, shapes: str, dtype: str) -> None:
    """Convert, in a child process, the program `source` for TensorRT into the program `target`, both ending in .json.

    API: `Input`, `TensorRTConfig` and `convert` of python/paddle/tensorrt/export.py of Paddle 3.
    """
    import paddle
    from paddle.tensorrt import Input, PrecisionMode, TensorRTConfig, convert

    low, best, high = json.loads(shapes)
    image = Input(min_input_shape=low, optim_input_shape=best, max_input_shape=high, input_data_type=dtype)
    mode = PrecisionMode.FP16 if precision == "fp16" else PrecisionMode.FP32
    paddle.set_device("gpu:0")
    convert(
        str(Path(source).with_suffix("")),
        TensorRTConfig(inputs=[image], precision_mode=mode, save_model_dir=str(Path(target).with_suffix(""))),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
