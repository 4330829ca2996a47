"""Paddle Inference runs with TensorRT in the way of Paddle 2: a subgraph engine inside the predictor."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy.engines import _gpu, _paddle_inference
from ssld.deploy.engines.registry import ENGINES, Run, model_file

if TYPE_CHECKING:
    from paddle.inference import Config

WORKSPACE = 1 << 30
SMALLEST_SUBGRAPH = 3


@ENGINES.register
@dataclass(frozen=True)
class PaddleTensorRTSubgraph:
    threads: int = 1
    precision: str = "fp32"
    batches: _gpu.Three = (1, 1, 32)
    pixels: _gpu.Three | None = None
    device: ClassVar[Literal["cpu", "gpu"]] = "gpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "paddle2", "fp16": "paddle2"}

    def why_not(self) -> str | None:
        return _gpu.why_not({"paddle": "paddlepaddle-gpu", "tensorrt": "tensorrt"})

    def load(self, folder: Path) -> Run:
        """Record the shapes inside the network, from smallest to largest; then let TensorRT take it over."""
        source, contract = model_file(self, folder), contracts.read(folder)
        shapes = _gpu.profile(contract, self.batches, self.pixels)
        with tempfile.TemporaryDirectory(prefix="ssld-tensorrt-") as scratch:
            shape_file = str(Path(scratch) / "shapes.txt")

            def record(config: Config) -> None:
                _paddle_inference.on_gpu(config)
                config.collect_shape_range_info(shape_file)

            def configure(config: Config) -> None:
                from paddle.inference import PrecisionType

                _paddle_inference.on_gpu(config)
                config.enable_tensorrt_engine(
                    workspace_size=WORKSPACE,
                    max_batch_size=self.batches[2],
                    min_subgraph_size=SMALLEST_SUBGRAPH,
                    precision_mode=PrecisionType.Half if self.precision == "fp16" else PrecisionType.Float32,
                    use_static=False,
                    use_calib_mode=False,
                )
                config.enable_tuned_tensorrt_dynamic_shape(shape_file, True)

            recorder = _paddle_inference.predictor(source, record)
            for shape in shapes:
                recorder(np.zeros(shape, contract["input"].get("dtype", "float32")))
            del recorder  # the shapes are written when the predictor is deleted
            run = _paddle_inference.predictor(source, configure)
            # This builds the engine while the file is there.
            run(np.zeros(shapes[1], contract["input"].get("dtype", "float32")))
        return run
