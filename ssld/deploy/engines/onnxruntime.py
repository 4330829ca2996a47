"""ONNX Runtime on the CPU."""

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
class OnnxRuntime:
    threads: int = 1
    suffix: ClassVar[str] = ".onnx"
    precision: ClassVar[str] = "fp32"

    def why_not(self) -> str | None:
        return None if find_spec("onnxruntime") else "onnxruntime is not installed; pip install 'ssld[engines]'"

    def load(self, folder: Path) -> Run:
        import onnxruntime

        file = folder / "model.onnx"
        if not file.is_file():
            raise DeployError(f"{file}: no such file; export the model with the format onnx first")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base of their own
            raise DeployError(f"{file}: ONNX Runtime cannot load it; {reason(str(error))}") from error
        name = session.get_inputs()[0].name

        def run(images: np.ndarray) -> np.ndarray:
            return session.run(None, {name: images})[0]

        return run
