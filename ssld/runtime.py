"""This module knows where a run happens: device, ranks, seeds, versions."""

import hashlib
import importlib.metadata
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import paddle

import ssld
from ssld.errors import RunError
from ssld.stopping import catch_again

catch_again()  # Paddle has taken SIGTERM


@dataclass(frozen=True)
class Runtime:
    """Describe this process among the ranks of its run. `gpu` is the device number on a GPU, None on a CPU."""

    rank: int
    world: int
    gpu: int | None

    @property
    def main(self) -> bool:
        """Return whether this is rank 0, which writes files and messages."""
        return self.rank == 0


def start(device: str = "auto") -> Runtime:
    """Choose the device and join the other ranks, if `paddle.distributed.launch` started any.

    Raises RunError when a GPU is asked for and there is none.
    """
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    has_gpu = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if device == "gpu" and not has_gpu:
        why = "no GPU is visible" if paddle.is_compiled_with_cuda() else "this PaddlePaddle is the CPU package"
        raise RunError(f"--device gpu: {why}; use --device cpu, or install paddlepaddle-gpu on a machine with one")
    use_gpu = has_gpu and device != "cpu"
    world = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    if world > 1:
        paddle.distributed.init_parallel_env()
    gpu = int(os.environ.get("FLAGS_selected_gpus", "0").split(",")[0]) if use_gpu else None
    paddle.set_device("cpu" if gpu is None else f"gpu:{gpu}")
    if gpu is not None:
        paddle.set_flags({"FLAGS_cudnn_deterministic": True})
    return Runtime(rank=int(os.environ.get("PADDLE_TRAINER_ID", "0")) if world > 1 else 0, world=world, gpu=gpu)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Make new tensors on the CPU inside this context."""
    before = paddle.device.get_device()
    paddle.set_device("cpu")
    try:
        yield
    finally:
        paddle.set_device(before)


def seed_of(*parts: object) -> int:
    """Return a 31-bit seed that depends on every part: `seed_of(plan.seed, 'distill', step)`."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little") >> 1


def seed_networks(*parts: object) -> None:
    """Seed Paddle's generator (initial weights, dropout). Data never draws from it: see data/sampler.py."""
    paddle.seed(seed_of(*parts))


def sum_over_ranks(values: np.ndarray, runtime: Runtime) -> np.ndarray:
    """Return the elementwise sum of a float64 array over all ranks."""
    if runtime.world == 1:
        return values
    total = paddle.to_tensor(values, dtype="float64")
    paddle.distributed.all_reduce(total)
    return total.numpy()


def barrier(runtime: Runtime) -> None:
    """Wait until every rank is here."""
    if runtime.world > 1:
        paddle.distributed.barrier()


PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "nvidia-dali-cuda120", "numpy", "paddle2onnx", "onnxruntime")


def versions(*more: str) -> dict[str, str]:
    """Return the versions of PACKAGES, on which a number may depend, and of `more`.

    The MKL path that was asked for stands beside them.
    """
    result = {"ssld": ssld.__version__, "python": platform.python_version()}
    if path := os.environ.get(ssld.FAST_MKL):
        result[ssld.FAST_MKL] = path
    for package in (*PACKAGES, *more):
        try:
            result[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def hardware() -> str:
    """Return one line: the processor (or GPU) and how many cores this process may use."""
    if paddle.device.get_device().startswith("gpu"):
        return f"{paddle.device.cuda.get_device_name()} x {os.environ.get('PADDLE_TRAINERS_NUM', '1')}"
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    return f"{model}, {cores()} cores"
