"""The engines on a GPU share this module: why they cannot run here, and the shapes that they are tuned for."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssld.errors import DeployError

Three = tuple[int, int, int]
"""The smallest, best and largest value: the engine takes all between, and is fastest at the second."""


def why_not(packages: Mapping[str, str], *, paddle: bool = True) -> str | None:
    """Name the first thing that is missing here, and what to do; None when nothing is.

    packages: {module: pip name} that must be installed. Beside them an NVIDIA GPU is needed, and with `paddle` a Paddle
    with CUDA.
    """
    for module, name in packages.items():
        if not find_spec(module):
            return f"{name} is not installed; pip install {name}, on a machine with an NVIDIA GPU"
    if not has_gpu():
        return "there is no NVIDIA GPU here; use an engine of the CPU"
    if paddle and not paddle_has_cuda():
        return "this PaddlePaddle has no CUDA; install paddlepaddle-gpu in place of paddlepaddle"
    return None


def has_gpu() -> bool:
    """Return whether there is a device file of NVIDIA's driver (under WSL the one that all GPUs share)."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def paddle_has_cuda() -> bool:
    """Return whether Paddle was built with CUDA.

    It is read from Paddle's version file, because importing the package takes seconds.
    """
    spec = find_spec("paddle")
    if spec is None or not spec.submodule_search_locations:
        return False
    text = (Path(spec.submodule_search_locations[0]) / "version" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r"^cuda_version\s*=\s*'([^']*)'", text, flags=re.MULTILINE)
    return match is not None and match[1] not in ("False", "")


def profile(contract: dict[str, Any], batches: Three, pixels: Three | None = None) -> list[list[int]]:
    """Return the smallest, best and largest shape of the input. An axis that is fixed in the file has one size.

    pixels: None is the contract's size alone. Raises DeployError unless the values are ascending and 1 or more.
    """
    input_spec = contract["input"]
    size = input_spec["size"]
    sides = (pixels if "height" in input_spec["dynamic"] else None) or (size, size, size)
    numbers = batches if "batch" in input_spec["dynamic"] else (1, 1, 1)
    for what, three in (("batches", numbers), ("pixels", sides)):
        if len(three) != 3 or not 1 <= three[0] <= three[1] <= three[2]:
            raise DeployError(f"engine: {what} {list(three)}; give smallest, best and largest, each 1 or more")
    nhwc = input_spec.get("layout") == "NHWC"
    return [[n, s, s, 3] if nhwc else [n, 3, s, s] for n, s in zip(numbers, sides, strict=True)]
