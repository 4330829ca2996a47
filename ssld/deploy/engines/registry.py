"""This module is the registry of inference engines. A new engine is one new file in this folder.

An engine is a small dataclass: its fields are its options, and `load` returns a plain function from images to logits.
`ssld list engines` imports its module, so a heavy package is imported inside `load`, never at the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

from ssld.deploy.contract import FORMATS
from ssld.errors import DeployError
from ssld.registry import Registry
from ssld.spec import ranges

if TYPE_CHECKING:
    import numpy as np

ENGINES = Registry("engine", __file__, "ssld.deploy.engines")

Run: TypeAlias = "Callable[[np.ndarray], np.ndarray]"
"""A function that takes images as the contract's `input` says and returns float32 [n, classes].

A call copies in, runs and copies out. Without preprocessing inside it takes float32 [n, 3, H, W], normalised; with it
uint8 [n, H, W, 3].
"""


class Engine(Protocol):
    """Say what every entry of this folder offers."""

    device: ClassVar[Literal["cpu", "gpu"]]
    reads: ClassVar[Mapping[str, str]]
    """The precisions that it can run in, each with the export format that it reads for it."""

    @property
    def threads(self) -> int:
        """Return the CPU threads of one call."""

    @property
    def precision(self) -> str:
        """Return one of `reads`, which is a column of bench.csv."""

    def why_not(self) -> str | None:
        """Return None when it can run here, otherwise the reason and what to do.

        It does not import the engine's package.
        """

    def load(self, folder: Path) -> Run:
        """Read an export and return its function.

        Raises DeployError, one line, when the file is missing or is no model.
        """


def ready(name: str, *, threads: int = 1, precision: str = "fp32", **options: object) -> Engine:
    """Build the named engine and check that it can run here.

    Raises RecipeError when there is none of that name, and for a wrong number of threads; DeployError when it lacks the
    precision or cannot run here.
    """
    ranges.check(ranges.Threads, threads, f"engine {name!r}: threads")
    engine: Engine = ENGINES.build(name, threads=threads, precision=precision, **options)
    check_precision(name, engine)
    if reason := engine.why_not():
        raise DeployError(f"engine {name!r}: {reason}")
    return engine


def device_of(name: str) -> Literal["cpu", "gpu"]:
    """Return where the named engine runs. Raises RecipeError when there is none of that name."""
    engine: Engine = ENGINES.build(name)
    return engine.device


def shaped(name: str, batches: tuple[int, int, int], size: int) -> dict[str, Any]:
    """Return the options of an engine that is built for shapes; {} of any other.

    They are batches (smallest, best, largest) and pixels.
    """
    return {"batches": batches, "pixels": (size,) * 3} if "batches" in ENGINES.options(name) else {}


def check_precision(name: str, engine: Engine) -> None:
    """Raise DeployError when an engine lacks the precision that it was built with."""
    if engine.precision not in engine.reads:
        choices = ", ".join(engine.reads)
        raise DeployError(f"engine {name!r}: has no precision {engine.precision!r}; choose from {choices}")


def format_of(name: str, precision: str = "fp32") -> str:
    """Return the export format that the named engine reads for a precision. Raises DeployError when it lacks that."""
    engine: Engine = ENGINES.build(name, precision=precision)
    check_precision(name, engine)
    return engine.reads[precision]


def combinations(engines: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """Return (engine, precision) of all that there are. A precision that an engine lacks is left out where it has
    another.

    Raises RecipeError for an engine that there is none of, DeployError for one that has none of the precisions.
    """
    pairs = []
    for name in engines:
        supported = [precision for precision in precisions if precision in ENGINES.build(name).reads]
        pairs += [(name, precision) for precision in supported]
        if not supported:
            check_precision(name, ENGINES.build(name, precision=precisions[0]))
    return pairs


def formats_for(engines: Sequence[str], precisions: Sequence[str]) -> list[str]:
    """Return the export formats that these engines read for these precisions."""
    names = {format_of(name, precision) for name, precision in combinations(engines, precisions)}
    return [form for form in FORMATS if form in names]


def model_file(engine: Engine, folder: Path) -> Path:
    """Return the first file of the format that an engine reads.

    Raises DeployError when a file of that format is missing.
    """
    form = engine.reads[engine.precision]
    for name in FORMATS[form].files:
        if not (folder / name).is_file():
            raise DeployError(f"{folder / name}: no such file; export the model with --format {form} first")
    return folder / FORMATS[form].files[0]


def usable() -> dict[str, str | None]:
    """Return every engine with None when it can run here, otherwise with the reason."""
    return {name: ENGINES.build(name).why_not() for name in ENGINES.names()}
