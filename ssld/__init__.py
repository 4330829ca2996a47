"""SSLD on PaddlePaddle: one command takes a recipe to a distilled, exported, measured student.

From Python: `ssld.distill`, `ssld.run`, `ssld.load_run` and the other names of `ssld.api`, see docs/python.md. They
load when they are first used: `import ssld` imports neither PaddlePaddle nor NumPy.
"""

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssld.api import (
        Distilled,
        Evaluation,
        FinishedRun,
        FinishedStage,
        create_model,
        distill,
        evaluate,
        export,
        list_models,
        load_run,
        predict,
        run,
    )
    from ssld.errors import SsldError
    from ssld.losses import Loss, Reads

__version__ = "0.1.0"
__all__ = [
    "Distilled",
    "Evaluation",
    "FinishedRun",
    "FinishedStage",
    "Loss",
    "Reads",
    "SsldError",
    "create_model",
    "distill",
    "evaluate",
    "export",
    "list_models",
    "load_run",
    "predict",
    "run",
]

_ELSEWHERE = {"Loss": "ssld.losses", "Reads": "ssld.losses", "SsldError": "ssld.errors"}


def __getattr__(name: str) -> object:
    """Return a public name from the module that defines it. `run` and `distill` are modules that may be called."""
    if name not in __all__:
        raise AttributeError(f"module 'ssld' has no attribute {name!r}")
    if name in ("run", "distill"):
        return import_module(f"ssld.{name}")
    value: object = getattr(import_module(_ELSEWHERE.get(name, "ssld.api")), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


FAST_MKL = "MKL_DEBUG_CPU_TYPE"


def _use_fast_mkl_on_amd() -> None:
    """The MKL inside Paddle takes its slow path on AMD processors (about 3x slower convolutions) unless this is set.

    It has to be set before Paddle is imported, hence here. It is not set elsewhere: on Intel it would choose
    an older path. A value that the user has set stays, also an empty one. `ssld run` says which it is.
    """
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "AuthenticAMD" in cpuinfo.read_text(encoding="utf-8", errors="replace"):
        os.environ.setdefault(FAST_MKL, "5")


_use_fast_mkl_on_amd()
