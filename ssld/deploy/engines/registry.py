"""The registry of inference engines. A new engine (a GPU, TensorRT, OpenVINO) is one new file in this folder.

An engine is a small dataclass: its fields are its options, `load` returns a plain function from images to logits.
Its module is imported by `ssld list engines`, so a heavy package is imported inside `load`, never at the top.
"""

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from ssld.deploy.contract import FORMATS
from ssld.errors import DeployError
from ssld.registry import Registry

ENGINES = Registry("engine", __file__, "ssld.deploy.engines")

Run = Callable[[np.ndarray], np.ndarray]
"""float32 images [n, 3, H, W], normalised -> float32 logits [n, classes]; a call copies in, runs and copies out."""


class Engine(Protocol):
    """What an entry of this folder offers."""

    threads: int
    """CPU threads of one call."""
    suffix: ClassVar[str]
    """The file that it reads is `model` + this."""
    precision: ClassVar[str]
    """`fp32`, `fp16` or `int8`: a column of bench.csv."""

    def why_not(self) -> str | None:
        """None when it can run here, else the reason and what to do, without importing the engine's package."""

    def load(self, folder: Path) -> Run:
        """Read an export; raises DeployError in one line when the file is missing or is no model."""


def ready(name: str, *, threads: int = 1) -> Engine:
    """Build the named engine; RecipeError when there is none of that name, DeployError when it cannot run here."""
    if threads < 1:
        raise DeployError(f"engine {name!r}: {threads} threads; give 1 or more")
    engine: Engine = ENGINES.build(name, threads=threads)
    if reason := engine.why_not():
        raise DeployError(f"engine {name!r}: {reason}")
    return engine


def format_of(name: str) -> str:
    """The export format that the named engine reads: paddle or onnx."""
    suffix = ENGINES.build(name).suffix
    return next(form for form, written in FORMATS.items() if f"model{suffix}" in written.files)


def usable() -> dict[str, str | None]:
    """Every engine -> None when it can run here, else the reason."""
    return {name: ENGINES.build(name).why_not() for name in ENGINES.names()}
