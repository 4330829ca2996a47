"""The registry of inference engines. A new engine is one new file in this folder.

An engine is a small dataclass: its fields are its options, `load` returns a plain function from images to logits.
Its module is imported by `ssld list engines`, so a heavy package is imported inside `load`, never at the top.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from ssld.deploy.contract import FORMATS
from ssld.errors import DeployError
from ssld.registry import Registry

ENGINES = Registry("engine", __file__, "ssld.deploy.engines")

Run = Callable[[np.ndarray], np.ndarray]
"""Images as the contract's `input` says -> float32 [n, classes]; a call copies in, runs and copies out.

Without preprocessing inside: float32 [n, 3, H, W], normalised; with it: uint8 [n, H, W, 3].
"""


class Engine(Protocol):
    """What an entry of this folder offers."""

    device: ClassVar[Literal["cpu", "gpu"]]
    reads: ClassVar[Mapping[str, str]]
    """Precision that it can run in -> the export format that it reads for it."""

    @property
    def threads(self) -> int:
        """CPU threads of one call."""

    @property
    def precision(self) -> str:
        """One of `reads`: a column of bench.csv."""

    def why_not(self) -> str | None:
        """None when it can run here, else the reason and what to do, without importing the engine's package."""

    def load(self, folder: Path) -> Run:
        """Read an export; raises DeployError in one line when the file is missing or is no model."""


def ready(name: str, *, threads: int = 1, precision: str = "fp32", **options: Any) -> Engine:
    """Build the named engine.

    RecipeError when there is none of that name, DeployError when it lacks the precision or cannot run here.
    """
    if threads < 1:
        raise DeployError(f"engine {name!r}: {threads} threads; give 1 or more")
    engine: Engine = ENGINES.build(name, threads=threads, precision=precision, **options)
    check_precision(name, engine)
    if reason := engine.why_not():
        raise DeployError(f"engine {name!r}: {reason}")
    return engine


def device_of(name: str) -> Literal["cpu", "gpu"]:
    """Where the named engine runs; RecipeError when there is none of that name."""
    engine: Engine = ENGINES.build(name)
    return engine.device


def shaped(name: str, batches: tuple[int, int, int], size: int) -> dict[str, Any]:
    """Options of an engine that is built for shapes: smallest, best and largest batch, pixels; {} of any other."""
    return {"batches": batches, "pixels": (size,) * 3} if "batches" in ENGINES.options(name) else {}


def check_precision(name: str, engine: Engine) -> None:
    if engine.precision not in engine.reads:
        has = ", ".join(engine.reads)
        raise DeployError(f"engine {name!r}: has no precision {engine.precision!r}; choose from {has}")


def format_of(name: str, precision: str = "fp32") -> str:
    """The export format that the named engine reads for a precision; DeployError when it lacks that."""
    engine: Engine = ENGINES.build(name, precision=precision)
    check_precision(name, engine)
    return engine.reads[precision]


def combinations(engines: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """(engine, precision) of all that there are; a precision that an engine lacks is left out where it has another.

    RecipeError or DeployError for an engine that there is none of, or that has none of the precisions.
    """
    found = []
    for name in engines:
        has = [precision for precision in precisions if precision in ENGINES.build(name).reads]
        found += [(name, precision) for precision in has]
        if not has:
            check_precision(name, ENGINES.build(name, precision=precisions[0]))
    return found


def formats_for(engines: Sequence[str], precisions: Sequence[str]) -> list[str]:
    """The export formats that these engines read for these precisions."""
    wanted = {format_of(name, precision) for name, precision in combinations(engines, precisions)}
    return [form for form in FORMATS if form in wanted]


def model_file(engine: Engine, folder: Path) -> Path:
    """The first file of the format that an engine reads; DeployError when a file of that format is missing."""
    form = engine.reads[engine.precision]
    for name in FORMATS[form].files:
        if not (folder / name).is_file():
            raise DeployError(f"{folder / name}: no such file; export the model with --format {form} first")
    return folder / FORMATS[form].files[0]


def usable() -> dict[str, str | None]:
    """Every engine -> None when it can run here, else the reason."""
    return {name: ENGINES.build(name).why_not() for name in ENGINES.names()}
