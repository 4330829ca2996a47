"""SSLD on PaddlePaddle: one command takes a recipe to a distilled, exported, measured student."""

import os
from pathlib import Path
from typing import Any

__version__ = "0.1.0"


def create_model(name: str, num_classes: int = 1000, in_size: int = 224) -> Any:
    """Build a network of the zoo by name; raises RecipeError for an unknown name or option.

    PaddlePaddle is imported by this call, not by `import ssld`.
    """
    from ssld.models import create

    return create(name, num_classes=num_classes, in_size=in_size)


def _use_fast_mkl_on_amd() -> None:
    """The MKL inside Paddle takes its slow path on AMD processors (about 3x slower convolutions) unless this is set.

    It has to be set before Paddle is imported, hence here. It is not set elsewhere: on Intel it would choose
    an older path. A value that the user has set stays.
    """
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text(encoding="utf-8", errors="replace"):
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")


_use_fast_mkl_on_amd()
