"""What the engines built on ONNX Runtime share: a session on one kind of device."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy.child import reason
from ssld.deploy.engines import _gpu
from ssld.deploy.engines.registry import Run
from ssld.errors import DeployError

Provider = tuple[str, dict[str, Any]]


def session(file: Path, threads: int, providers: list[Provider]) -> Run:
    """The function of an ONNX file. Raises DeployError when it is no model, or the first provider was not taken.

    ONNX Runtime goes on with the CPU, after a warning, where a GPU's provider fails.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        built = onnxruntime.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # its exceptions have no common base of their own
        raise DeployError(f"{file}: ONNX Runtime cannot load it; {reason(str(error))}") from error
    wanted, taken = providers[0][0], built.get_providers()
    if wanted not in taken:
        what = f"ONNX Runtime took {', '.join(taken)} in place of {wanted}"
        raise DeployError(f"{file}: {what}; install the CUDA, cuDNN and TensorRT that onnxruntime-gpu asks for")
    name = built.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        return built.run(None, {name: images})[0]

    return run


def why_not_on_gpu(library: str) -> str | None:
    """Why a provider, the file `libonnxruntime_providers_<library>.so`, cannot run here."""
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
