"""Latency of exported networks: the network alone (copy in, run, copy out), and from image files to answers.

The compared (network, engine, precision) combinations take turns in one process, see `timing`. Warm-up and repeats
default to PaddleClas's published protocol: 10 runs dropped, 500 timed.
"""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy import timing
from ssld.deploy.child import reason, run_module
from ssld.deploy.engines.registry import ENGINES, Engine, Run, combinations, ready, shaped
from ssld.deploy.pictures import answer, drawn, jpegs
from ssld.errors import DeployError
from ssld.files import whole, write_whole
from ssld.spec.choices import Span

QUICK_WARMUP, QUICK_REPEATS, QUICK_SECONDS = 3, 50, 1.0
MEMORY_SECONDS = 600.0


@dataclass(frozen=True)
class Row:
    """One measured configuration. Times are milliseconds a batch, `images_per_second` is batch / mean time."""

    network: str
    engine: str
    precision: str
    batch: int
    size: int
    threads: int
    repeats: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    images_per_second: float
    model_bytes: int
    span: Span = "model"  # end-to-end: decode, resize, crop, normalise and run
    speedup: float | None = None  # over the first row of its batch, size, threads and span
    speedup_low: float | None = None  # ends of its 95 % interval
    speedup_high: float | None = None
    drift: float | None = None  # see timing.Steadiness
    spread: float | None = None
    steady: bool | None = None
    peak_bytes: int | None = None  # memory of a process that holds this alone; on a GPU what it holds there


@dataclass(frozen=True)
class Case:
    """A network for an engine, not loaded yet."""

    network: str
    folder: Path
    contract: dict[str, Any]
    name: str
    engine: Engine

    @property
    def model_bytes(self) -> int:
        form = contracts.FORMATS[self.engine.reads[self.engine.precision]]
        return sum(self.contract["files"][file]["bytes"] for file in form.among(self.contract["files"]))

    @property
    def told(self) -> str:
        return f"{self.network} in {self.name} {self.engine.precision}"


def bench(
    networks: Mapping[str, str | Path],
    *,
    engines: Sequence[str] = ("paddle", "onednn", "onnxruntime"),
    precisions: Sequence[str] = ("fp32",),
    batch_sizes: Sequence[int] = (1,),
    image_sizes: Sequence[int] | None = None,
    threads: Sequence[int] = (1,),
    spans: Sequence[Span] = ("model",),
    pictures: Sequence[Path] = (),
    warmup: int = 10,
    repeats: int = 500,
    quick: bool = False,
    seconds: float | None = None,
    memory: bool = False,
) -> list[Row]:
    """Time exported folders ({label: folder}); rows in order of threads, batch, size, span, network, engine, precision.

    A precision that an engine lacks, or whose files an export lacks, is left out where there is another one that is
    asked for. image_sizes: pixels
    of a side; None = each network at the size of its own contract. pictures: image files for end-to-end; none = drawn
    ones. seconds: limit of a configuration, warm-up not counted; its row says how many repeats fitted (at least one
    turn). quick: 3 + at most 50 runs in at most a second. memory: peak memory, from a child process a row. Raises
    RecipeError or DeployError, one line, for an unknown or unusable engine, a folder that is no export, a size that the
    network does not take, and numbers below 1.
    """
    if quick:
        warmup, repeats, seconds = QUICK_WARMUP, QUICK_REPEATS, seconds or QUICK_SECONDS
    check_asked(
        engines, precisions, threads, batch_sizes=batch_sizes, image_sizes=image_sizes or (1,), repeats=(repeats,)
    )
    if not networks:
        raise DeployError("bench: no network given; name at least one")
    found = [cases(networks, engines, precisions, number) for number in threads]
    for side, batch in ((side, batch) for side in image_sizes or (None,) for batch in batch_sizes):
        check_shape(found[0], side, batch)
    sources = jpegs(pictures) if "end-to-end" in spans else []
    rows: list[Row] = []
    for several in found:
        for batch in batch_sizes:
            for size in image_sizes or (None,):
                loaded = [(case, load(case, batch, size or case.contract["input"]["size"])) for case in several]
                for span in spans:
                    calls = [call_of(case, run, batch, size, span, sources) for case, run in loaded]
                    rest = timing.REST_SECONDS if several[0].engine.threads > 1 else 0.0
                    times = timing.rounds(calls, warmup=warmup, repeats=repeats, seconds=seconds, rest=rest)
                    rows += [
                        row_of(case, batch, size, span, turns, times[0], memory)
                        for case, turns in zip(several, times, strict=True)
                    ]
                del loaded, calls
    return rows


def cases(
    networks: Mapping[str, str | Path], engines: Sequence[str], precisions: Sequence[str], threads: int
) -> list[Case]:
    """Every network in every engine in every precision that the engine has; DeployError unless all files are whole."""
    wanted = combinations(engines, precisions)
    chosen = [(name, ready(name, threads=threads, precision=precision)) for name, precision in wanted]
    found = []
    for label, folder in networks.items():
        contract = contracts.read(Path(folder))
        for name, engine in exported(chosen, contract):
            form = contracts.FORMATS[engine.reads[engine.precision]]
            contracts.check_files(Path(folder), contract, form.among(contract["files"]))
            found.append(Case(label, Path(folder), contract, name, engine))
    return found


def exported(chosen: Sequence[tuple[str, Engine]], contract: dict[str, Any]) -> list[tuple[str, Engine]]:
    """Those whose files an export has; of an engine for which it has none, all: their files are then missed by name."""
    forms = contracts.formats_of(contract)
    there = [(name, engine) for name, engine in chosen if engine.reads[engine.precision] in forms]
    names = {name for name, _ in there}
    return [one for one in chosen if one in there or one[0] not in names]


def check_asked(
    engines: Sequence[str], precisions: Sequence[str], threads: Sequence[int], **numbers: Sequence[int]
) -> None:
    """Raise what `bench` raises of the question alone, before anything is exported or loaded."""
    for what, values in {"threads": threads, **numbers}.items():
        if not values or min(values) < 1:
            raise DeployError(f"bench: {what.replace('_', ' ')} {list(values)}; give numbers of 1 or more")
    if not engines or not precisions:
        raise DeployError("bench: no engine or no precision given; name at least one of each")
    for name, precision in combinations(engines, precisions):
        ready(name, precision=precision)


def check_shape(found: Sequence[Case], size: int | None, batch: int) -> None:
    """Raise DeployError when a network was exported for another, fixed size or batch."""
    for case in found:
        given = case.contract["input"]
        if size and size != given["size"] and "height" not in given["dynamic"]:
            raise DeployError(f"bench: {case.network} takes {given['size']} px only, not {size}; drop that image size")
        if batch > 1 and "batch" not in given["dynamic"]:
            raise DeployError(f"bench: {case.network} takes one image a call, not {batch}; drop that batch size")


def load(case: Case, batch: int, size: int) -> Run:
    """The network in its engine; one that is built for a shape is built for this one, as the published protocol did."""
    options = options_of(case, batch, size)
    engine: Engine = ENGINES.build(case.name, **options)
    return engine.load(case.folder)


def options_of(case: Case, batch: int, size: int) -> dict[str, Any]:
    """The options of the engine for this shape."""
    options: dict[str, Any] = {"threads": case.engine.threads, "precision": case.engine.precision}
    return options | shaped(case.name, (batch, batch, batch), size)


def call_of(
    case: Case, run: Run, batch: int, size: int | None, span: Span, sources: Sequence[bytes]
) -> Callable[[], object]:
    """The call to time, tried once: an engine may refuse a shape, Pillow a file."""
    side = size or case.contract["input"]["size"]
    images = drawn(case.contract, batch, side)
    given = case.contract["input"] | {"dtype": images.dtype.name}
    taken = [sources[number % len(sources)] for number in range(batch)] if sources else []

    def call() -> object:
        return run(images) if span == "model" else answer(run, taken, given, side)

    try:
        call()
    except Exception as error:  # each engine has its own exceptions
        raise DeployError(f"bench: {case.told} cannot run {list(images.shape)}; {reason(str(error))}") from error
    return call


def row_of(
    case: Case,
    batch: int,
    size: int | None,
    span: Span,
    turns: Sequence[Sequence[float]],
    base: Sequence[Sequence[float]],
    memory: bool,
) -> Row:
    taken = [value for turn in turns for value in turn]
    mean, side = float(np.mean(taken)), size or case.contract["input"]["size"]
    p50, p90, p99 = (round(float(p), 4) for p in np.percentile(taken, (50, 90, 99)))
    ratio, judged = timing.speedup(base, turns), timing.steadiness(taken)
    return Row(
        network=case.network,
        engine=case.name,
        precision=case.engine.precision,
        batch=batch,
        size=side,
        threads=case.engine.threads,
        repeats=len(taken),
        mean_ms=round(mean, 4),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        images_per_second=round(1e3 * batch / mean, 2),
        model_bytes=case.model_bytes,
        span=span,
        speedup=round(ratio.value, 4),
        speedup_low=None if ratio.low is None else round(ratio.low, 4),
        speedup_high=None if ratio.high is None else round(ratio.high, 4),
        drift=None if judged is None else round(judged.drift, 4),
        spread=None if judged is None else round(judged.spread, 4),
        steady=None if judged is None else judged.steady,
        peak_bytes=peak_bytes(case, batch, side) if memory and span == "model" else None,
    )


def peak_bytes(case: Case, batch: int, size: int) -> int | None:
    """Peak memory of a process of its own that holds this network in this engine alone; None where a GPU hides it."""
    options = json.dumps(options_of(case, batch, size))
    arguments = [str(case.folder), case.name, options, str(batch), str(size)]
    told = run_module("ssld.deploy.memory", arguments, what=f"bench: memory of {case.told}", seconds=MEMORY_SECONDS)
    peak = told.rstrip().rpartition("peak ")[2]
    return int(peak) if peak else None


def unsteady(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row whose times changed too much while they were taken."""
    return [
        f"{row.network} in {row.engine} {row.precision}, batch {row.batch}, {row.size} px, {row.span}: not steady, "
        f"drift {row.drift:+.0%}, quartiles {row.spread:.0%} apart; quieten the machine and repeat"
        for row in rows
        if row.steady is False
    ]


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Write the rows, a line each; the file appears whole or not at all."""
    try:
        with whole(Path(path)) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
    except OSError as error:
        raise DeployError(f"{path}: cannot be written ({error.strerror}); choose another file") from error


def write_json(rows: Sequence[Row], machine: Mapping[str, Any], path: str | Path) -> None:
    """Write the machine and the rows; the file appears whole or not at all."""
    try:
        write_whole(
            Path(path), json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
        )
    except OSError as error:
        raise DeployError(f"{path}: cannot be written ({error.strerror}); choose another file") from error
