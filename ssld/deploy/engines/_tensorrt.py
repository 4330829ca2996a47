"""This module serves TensorRT 10 and later: a child process turns an ONNX file into a plan, `load` a plan into a
function.

    python -m ssld.deploy.engines._tensorrt ONNX PLAN CACHE PROFILE

Networks are strongly typed, the only kind that TensorRT 11 has: a plan computes in the types of its ONNX file, float32
without TF32, float16 or int8 between Q/DQ pairs. Memory on the GPU is Paddle's, so no other CUDA package is needed.
API: docs.nvidia.com/deeplearning/tensorrt, Python API of 10.x and 11.x and the migration guide between them.
"""

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy.child_process import run_module
from ssld.deploy.engines import _gpu
from ssld.deploy.engines.registry import Run
from ssld.errors import DeployError
from ssld.files import whole
from ssld.paths import cache_root

OLDEST = 10
BUILD_SECONDS = 3600.0
PACKAGES = {"tensorrt": "tensorrt"}


def why_not() -> str | None:
    """Say why TensorRT cannot run here; None when it can."""
    return _gpu.why_not(PACKAGES)


def build(source: Path, plan: Path, shapes: list[list[int]]) -> None:
    """Write the plan of an ONNX file for this GPU. shapes: as `_gpu.profile` returns them. Raises DeployError, one
    line.

    It takes minutes for a large network, seconds with the timings that earlier builds left in the cache.
    """
    arguments = [str(source), str(plan), str(timing_cache()), json.dumps(shapes)]
    run_module("ssld.deploy.engines._tensorrt", arguments, what=f"{source}: TensorRT", seconds=BUILD_SECONDS)


def timing_cache() -> Path:
    """Return the file of kernel timings. It fits one version of TensorRT, so the version is in its name."""
    try:
        release = version("tensorrt")
    except PackageNotFoundError:  # TensorRT was installed by other means than pip
        release = "unknown"
    return cache_root() / f"tensorrt-{release}.timing"


def built_with() -> dict[str, str]:
    """Return what a plan of this machine fits: the version of TensorRT, and the GPU."""
    import paddle
    import tensorrt

    return {"tensorrt": tensorrt.__version__, "gpu": paddle.device.cuda.get_device_name(0)}


def main(source: str, plan: str, cache: str, profile: str) -> None:
    """Parse the ONNX file, set types and shapes, build the plan and keep the timings.

    Ends with a reason when a step fails.
    """
    import tensorrt as trt

    if int(trt.__version__.split(".")[0]) < OLDEST:
        raise SystemExit(f"[ERROR] TensorRT {trt.__version__} is too old; install TensorRT {OLDEST} or later")
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(source):  # from the file itself, so that the weights beside it are found
        errors = [parser.get_error(number).desc() for number in range(parser.num_errors)]
        raise SystemExit(f"[ERROR] it cannot read the file: {'; '.join(errors)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default and float32 in name only: 10 bits of mantissa
    entry = network.get_input(0)
    if -1 in tuple(entry.shape):
        shapes = builder.create_optimization_profile()
        shapes.set_shape(entry.name, *(tuple(shape) for shape in json.loads(profile)))
        config.add_optimization_profile(shapes)
    timings = load_timings(config, Path(cache))
    content = builder.build_serialized_network(network, config)
    if content is None:
        raise SystemExit("[ERROR] it cannot build the network; its own messages are above")
    Path(plan).write_bytes(bytes(content))
    Path(cache).parent.mkdir(parents=True, exist_ok=True)
    with whole(Path(cache), f"-{os.getpid()}") as partial:
        partial.write_bytes(bytes(timings.serialize()))


def load_timings(config: Any, cache: Path) -> Any:
    """Return the ITimingCache in use: that of the file where it is of this version and GPU, otherwise an empty one."""
    if cache.is_file():
        timings = config.create_timing_cache(cache.read_bytes())
        if config.set_timing_cache(timings, False):  # False: a cache of another GPU is not taken
            return timings
    timings = config.create_timing_cache(b"")
    config.set_timing_cache(timings, False)
    return timings


def load(plan: Path) -> Run:
    """Return the function of a plan: it sets the shape, copies in, runs and copies out, on Paddle's stream of GPU 0.

    Raises DeployError when the plan is of another version or GPU; the function raises it for a shape outside its
    profile.
    """
    import paddle
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.ERROR)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        what = f"TensorRT {trt.__version__} cannot load it"
        raise DeployError(f"{plan}: {what}; a plan fits one version and one kind of GPU, build it on this machine")
    context = engine.create_execution_context()
    source, target = (engine.get_tensor_name(number) for number in range(2))
    place = paddle.CUDAPlace(0)
    outputs: dict[tuple[int, ...], Any] = {}

    def run(images: np.ndarray) -> np.ndarray:
        if not context.set_input_shape(source, tuple(images.shape)):
            what = f"{list(images.shape)} is outside the shapes that it was built for"
            raise DeployError(f"{plan.name}: {what}; load the engine with other `batches` or `pixels`")
        shape = tuple(context.get_tensor_shape(target))
        if shape not in outputs:
            outputs[shape] = paddle.to_tensor(np.zeros(shape, "float32"), place=place)
        input_tensor, output_tensor = paddle.to_tensor(images, place=place), outputs[shape]
        context.set_tensor_address(source, input_tensor.data_ptr())
        context.set_tensor_address(target, output_tensor.data_ptr())
        stream = paddle.device.cuda.current_stream(0)
        if not context.execute_async_v3(stream.cuda_stream):
            raise DeployError(f"{plan.name}: TensorRT could not run {list(images.shape)}; its message is above")
        stream.synchronize()
        return output_tensor.numpy()

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
