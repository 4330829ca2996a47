"""OpenVINO on the CPU."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from ssld.deploy.child import reason
from ssld.deploy.engines.registry import ENGINES, Run
from ssld.errors import DeployError


@ENGINES.register
@dataclass(frozen=True)
class OpenVINO:
    threads: int = 1
    suffix: ClassVar[str] = ".onnx"
    precision: ClassVar[str] = "fp32"

    def why_not(self) -> str | None:
        return None if find_spec("openvino") else "openvino is not installed; pip install 'ssld[engines]'"

    def load(self, folder: Path) -> Run:
        import openvino

        file = folder / "model.onnx"
        if not file.is_file():
            raise DeployError(f"{file}: no such file; export the model with the format onnx first")
        # Said, because the default is whatever the processor is fastest with: bfloat16 on some.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads, "NUM_STREAMS": 1}
        try:
            request = openvino.Core().compile_model(str(file), "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise DeployError(f"{file}: OpenVINO cannot load it; {reason(str(error))}") from error

        def run(images: np.ndarray) -> np.ndarray:
            return request.infer([images])[0].copy()  # its own memory, which the next call writes over

        return run
