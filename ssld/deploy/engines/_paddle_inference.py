"""The engines built on Paddle Inference share this module: the set-up of a predictor."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssld.deploy.child_process import reason
from ssld.deploy.engines.registry import Run
from ssld.errors import DeployError

if TYPE_CHECKING:
    from paddle.inference import Config


def why_not() -> str | None:
    """Say why Paddle Inference cannot run here; None when it can."""
    return None if find_spec("paddle") else "paddlepaddle is not installed; pip install 'ssld[cpu]'"


def predictor(program: Path, configure: Callable[[Config], None]) -> Run:
    """Load a program and the `.pdiparams` beside it and return their function. configure: it sets the
    paddle.inference.Config.

    Raises DeployError when the files are no model.
    """
    import paddle.inference

    config = paddle.inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    config.disable_glog_info()
    configure(config)
    try:
        engine = paddle.inference.create_predictor(config)
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        raise DeployError(f"{program}: Paddle Inference cannot load it; {reason(str(error))}") from error
    source = engine.get_input_handle(engine.get_input_names()[0])
    target = engine.get_output_handle(engine.get_output_names()[0])

    def run(images: np.ndarray) -> np.ndarray:
        source.reshape(images.shape)
        source.copy_from_cpu(images)
        engine.run()
        return target.copy_to_cpu()

    return run


def on_cpu(threads: int, *, onednn: bool, int8: bool = False) -> Callable[[Config], None]:
    """Return a `configure` for the CPU.

    The thread number is Paddle's global one: the predictor that was loaded last decides it.
    """

    def configure(config: Config) -> None:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(threads)
        # oneDNN is set either way: its default differs between versions. enable_memory_optim() would crash on a CPU.
        if onednn:
            config.enable_mkldnn()
        else:
            config.disable_mkldnn()
        if int8:
            config.enable_mkldnn_int8()

    return configure


def on_gpu(config: Config, precision: str = "fp32") -> None:
    """Configure a predictor for GPU 0.

    Raises DeployError where Paddle stays on the CPU: without CUDA `enable_use_gpu` only logs that.
    """
    from paddle.inference import PrecisionType

    config.enable_use_gpu(256, 0, PrecisionType.Half if precision == "fp16" else PrecisionType.Float32)
    if not config.use_gpu():
        raise DeployError("Paddle Inference: did not take the GPU; install paddlepaddle-gpu in place of paddlepaddle")
    config.enable_memory_optim()
