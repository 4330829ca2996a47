"""OpenVINO runs on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ssld.deploy.child_process import reason
from ssld.deploy.engines.registry import ENGINES, Run, model_file
from ssld.errors import DeployError


@ENGINES.register
@dataclass(frozen=True)
class OpenVINO:
    threads: int = 1
    precision: str = "fp32"
    device: ClassVar[Literal["cpu", "gpu"]] = "cpu"
    reads: ClassVar[Mapping[str, str]] = {"fp32": "onnx", "int8": "int8"}

    def why_not(self) -> str | None:
        return None if find_spec("openvino") else "openvino is not installed; pip install 'ssld[engines]'"

    def load(self, folder: Path) -> Run:
        import openvino

        file = model_file(self, folder)
        # The precision is set, because the default is what the processor is fastest with: bfloat16 on some.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1}
        try:
            request = openvino.Core().compile_model(str(file), "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise DeployError(f"{file}: OpenVINO cannot load it; {reason(str(error))}") from error

        def run(images: np.ndarray) -> np.ndarray:
            return request.infer([images])[
                0
            ].copy()  # the result is OpenVINO's own memory, which the next call overwrites

        return run
