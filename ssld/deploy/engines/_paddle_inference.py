"""What the engines built on Paddle Inference share: the set-up of a predictor."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ssld.deploy.child import reason
from ssld.deploy.engines.registry import Run
from ssld.errors import DeployError


def why_not() -> str | None:
    return None if find_spec("paddle") else "paddlepaddle is not installed; pip install 'ssld[cpu]'"


def predictor(folder: Path, threads: int, *, onednn: bool) -> Run:
    """Load `model.json` + `model.pdiparams`; raises DeployError when they are missing or are no model.

    The thread number is Paddle's global one: the last predictor loaded decides it for the process.
    """
    import paddle.inference

    program, weights = folder / "model.json", folder / "model.pdiparams"
    for file in (program, weights):
        if not file.is_file():
            raise DeployError(f"{file}: no such file; export the model first")
    config = paddle.inference.Config(str(program), str(weights))
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    # Said either way: the default differs between versions. enable_memory_optim() stays off, it crashes CPU predictors.
    if onednn:
        config.enable_mkldnn()
    else:
        config.disable_mkldnn()
    try:
        built = paddle.inference.create_predictor(config)
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        raise DeployError(f"{program}: Paddle Inference cannot load it; {reason(str(error))}") from error
    source = built.get_input_handle(built.get_input_names()[0])
    target = built.get_output_handle(built.get_output_names()[0])

    def run(images: np.ndarray) -> np.ndarray:
        source.reshape(images.shape)
        source.copy_from_cpu(images)
        built.run()
        return target.copy_to_cpu()

    return run
