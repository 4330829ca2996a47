"""The engines built on ONNX Runtime share this module: a session on one kind of device."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy.child_process import reason
from ssld.deploy.engines import _gpu
from ssld.deploy.engines.registry import Run
from ssld.errors import DeployError

Provider = tuple[str, dict[str, Any]]


def session(file: Path, threads: int, providers: list[Provider]) -> Run:
    """Load an ONNX file and return its function.

    Raises DeployError when the file is no model, and when ONNX Runtime did not take the first provider: where the
    provider of a GPU fails, it goes on with the CPU after a warning.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        model = onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # its exceptions have no common base class of their own
        raise DeployError(f"{file}: ONNX Runtime cannot load it; {reason(str(error))}") from error
    provider, active = providers[0][0], model.get_providers()
    if provider not in active:
        what = f"ONNX Runtime took {', '.join(active)} in place of {provider}"
        raise DeployError(f"{file}: {what}; install the CUDA, cuDNN and TensorRT that onnxruntime-gpu asks for")
    name = model.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return model.run(None, {name: images})[0]

    return run


def why_not_on_gpu(library: str) -> str | None:
    """Say why the provider in the file `libonnxruntime_providers_<library>.so` cannot run here; None when it can."""
    spec = find_spec("onnxruntime")
    folders = (spec.submodule_search_locations if spec else None) or []
    if not any((Path(folder) / "capi" / f"libonnxruntime_providers_{library}.so").is_file() for folder in folders):
        return f"this onnxruntime has no provider {library}; install onnxruntime-gpu in place of onnxruntime"
    return _gpu.why_not({}, paddle=False)


def load_cuda() -> None:
    """Let ONNX Runtime find the CUDA and cuDNN that came as Python packages (it can from 1.21 on)."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
