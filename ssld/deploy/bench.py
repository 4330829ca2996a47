"""This module measures how long exported networks take.

Two spans are measured: the network alone (copy in, run, copy out), and the whole way from image files to answers. The
compared (network, engine, precision) combinations take turns in one process, see `timing`. The defaults of warm-up and
repeats are those of PaddleClas's published protocol: 10 runs are dropped and 500 are timed.
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
from ssld.deploy.child_process import reason, run_module
from ssld.deploy.engines.registry import ENGINES, Engine, Run, combinations, ready, shaped
from ssld.deploy.pictures import answer, jpegs, random_images
from ssld.errors import DeployError
from ssld.files import whole, write_whole, writing
from ssld.spec import ranges
from ssld.spec.choices import Span

NUMBERS = {
    "threads": ranges.Threads,
    "batch_sizes": ranges.Batch,
    "image_sizes": ranges.Pixels,
    "warmup": ranges.CountOrNone,
    "repeats": ranges.Count,
}
QUICK_WARMUP, QUICK_REPEATS, QUICK_SECONDS = 3, 50, 1.0
MEMORY_SECONDS = 600.0


@dataclass(frozen=True)
class Row:
    """Hold one measured configuration. Times are milliseconds a batch; `images_per_second` is batch / mean time."""

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
    span: Span = "model"  # end-to-end means: decode, resize, crop, normalise and run
    speedup: float | None = None  # it compares with the first row of its batch, size, threads and span
    speedup_low: float | None = None  # these two are the ends of its 95 % interval
    speedup_high: float | None = None
    drift: float | None = None  # timing.Steadiness defines these two
    spread: float | None = None
    steady: bool | None = None
    peak_bytes: int | None = None  # memory that a process holding this alone needs; of an engine on a GPU the GPU's


@dataclass(frozen=True)
class Case:
    """Hold a network, and the engine that is to run it. The engine has not loaded it yet."""

    network: str
    folder: Path
    contract: dict[str, Any]
    name: str
    engine: Engine

    @property
    def model_bytes(self) -> int:
        """Return the bytes of all files that the engine reads."""
        form = contracts.FORMATS[self.engine.reads[self.engine.precision]]
        return sum(self.contract["files"][file]["bytes"] for file in form.among(self.contract["files"]))

    @property
    def label(self) -> str:
        """Return the name of this case in messages: network, engine and precision."""
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
    """Time exported folders ({label: folder}) and return one row for each configuration.

    The rows come in order of threads, batch, size, span, network, engine, precision. A precision that an engine lacks,
    or whose files an export lacks, is left out where the engine has another one that is asked for.

    image_sizes: pixels of a side; None takes each network at the size of its own contract. pictures: image files for
    the span end-to-end; without any, images are drawn. seconds: the limit of a configuration without its warm-up; its
    row says how many repeats fitted (at least one turn). quick: 3 runs of warm-up and at most 50 timed runs in at most
    a second. memory: also measure the peak memory, in a child process for each row.

    Raises RecipeError or DeployError, each one line, for an unknown or unusable engine, for a folder that is no export,
    for a size that the network does not take, and for numbers out of range.
    """
    if quick:
        warmup, repeats, seconds = QUICK_WARMUP, QUICK_REPEATS, seconds or QUICK_SECONDS
    counts = {"warmup": (warmup,), "repeats": (repeats,)}
    check_asked(engines, precisions, threads, batch_sizes=batch_sizes, image_sizes=image_sizes or (1,), **counts)
    if not networks:
        raise DeployError("bench: no network given; name at least one")
    groups = [cases(networks, engines, precisions, number) for number in threads]
    for side, batch in ((side, batch) for side in image_sizes or (None,) for batch in batch_sizes):
        check_shape(groups[0], side, batch)
    sources = jpegs(pictures) if "end-to-end" in spans else []
    rows: list[Row] = []
    for group in groups:
        for batch in batch_sizes:
            for size in image_sizes or (None,):
                loaded = [(case, load(case, batch, size or case.contract["input"]["size"])) for case in group]
                for span in spans:
                    calls = [call_of(case, run, batch, size, span, sources) for case, run in loaded]
                    rest = timing.REST_SECONDS if group[0].engine.threads > 1 else 0.0
                    times = timing.rounds(calls, warmup=warmup, repeats=repeats, seconds=seconds, rest=rest)
                    rows += [
                        row_of(case, batch, size, span, turns, times[0], memory)
                        for case, turns in zip(group, times, strict=True)
                    ]
                del loaded, calls
    return rows


def cases(
    networks: Mapping[str, str | Path], engines: Sequence[str], precisions: Sequence[str], threads: int
) -> list[Case]:
    """Return every network in every engine in every precision that the engine has.

    Raises DeployError unless all files that the engines read are there and unchanged.
    """
    pairs = combinations(engines, precisions)
    candidates = [(name, ready(name, threads=threads, precision=precision)) for name, precision in pairs]
    result = []
    for label, folder in networks.items():
        contract = contracts.read(Path(folder))
        for name, engine in exported(candidates, contract):
            form = contracts.FORMATS[engine.reads[engine.precision]]
            contracts.check_files(Path(folder), contract, form.among(contract["files"]))
            result.append(Case(label, Path(folder), contract, name, engine))
    return result


def exported(candidates: Sequence[tuple[str, Engine]], contract: dict[str, Any]) -> list[tuple[str, Engine]]:
    """Return the candidates whose files an export has.

    Of an engine for which the export has no files all candidates are returned: a later check then names the missing
    file.
    """
    forms = contracts.formats_of(contract)
    available = [(name, engine) for name, engine in candidates if engine.reads[engine.precision] in forms]
    names = {name for name, _ in available}
    return [candidate for candidate in candidates if candidate in available or candidate[0] not in names]


def check_asked(
    engines: Sequence[str], precisions: Sequence[str], threads: Sequence[int], **numbers: Sequence[int]
) -> None:
    """Raise the errors of `bench` that follow from its arguments alone, before anything is exported or loaded."""
    for what, values in {"threads": threads, **numbers}.items():
        if not values:
            raise DeployError(f"bench: {what}: none given; name at least one")
        for value in values:
            ranges.check(NUMBERS[what], value, f"bench: {what}")
    if not engines or not precisions:
        raise DeployError("bench: no engine or no precision given; name at least one of each")
    for name, precision in combinations(engines, precisions):
        ready(name, precision=precision)


def check_shape(group: Sequence[Case], size: int | None, batch: int) -> None:
    """Raise DeployError when a network was exported for another, fixed size or batch."""
    for case in group:
        input_spec = case.contract["input"]
        if size and size != input_spec["size"] and "height" not in input_spec["dynamic"]:
            raise DeployError(
                f"bench: {case.network} takes {input_spec['size']} px only, not {size}; drop that image size"
            )
        if batch > 1 and "batch" not in input_spec["dynamic"]:
            raise DeployError(f"bench: {case.network} takes one image a call, not {batch}; drop that batch size")


def load(case: Case, batch: int, size: int) -> Run:
    """Load the network in its engine.

    An engine that is built for one shape is built for this one, as in the published protocol.
    """
    options = options_of(case, batch, size)
    engine: Engine = ENGINES.build(case.name, **options)
    return engine.load(case.folder)


def options_of(case: Case, batch: int, size: int) -> dict[str, Any]:
    """Return the options with which the engine is built for this shape."""
    options: dict[str, Any] = {"threads": case.engine.threads, "precision": case.engine.precision}
    return options | shaped(case.name, (batch, batch, batch), size)


def call_of(
    case: Case, run: Run, batch: int, size: int | None, span: Span, sources: Sequence[bytes]
) -> Callable[[], object]:
    """Return the call to time.

    It is tried once here, because an engine may refuse a shape and Pillow may refuse a file.
    """
    side = size or case.contract["input"]["size"]
    images = random_images(case.contract, batch, side)
    input_spec = case.contract["input"] | {"dtype": images.dtype.name}
    pictures = [sources[number % len(sources)] for number in range(batch)] if sources else []

    def call() -> object:
        return run(images) if span == "model" else answer(run, pictures, input_spec, side)

    try:
        call()
    except Exception as error:  # each engine raises exceptions of its own
        raise DeployError(f"bench: {case.label} cannot run {list(images.shape)}; {reason(str(error))}") from error
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
    """Make the row of a case from its times in each turn; `base` are the times that its speed is compared with."""
    times = [value for turn in turns for value in turn]
    mean, side = float(np.mean(times)), size or case.contract["input"]["size"]
    p50, p90, p99 = (round(float(p), 4) for p in np.percentile(times, (50, 90, 99)))
    ratio, judged = timing.speedup(base, turns), timing.steadiness(times)
    return Row(
        network=case.network,
        engine=case.name,
        precision=case.engine.precision,
        batch=batch,
        size=side,
        threads=case.engine.threads,
        repeats=len(times),
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
    """Measure the peak memory, in bytes, of a child process that holds this network in this engine alone.

    Returns None where a GPU does not say how much memory the process holds.
    """
    options = json.dumps(options_of(case, batch, size))
    arguments = [str(case.folder), case.name, options, str(batch), str(size)]
    output = run_module("ssld.deploy.memory", arguments, what=f"bench: memory of {case.label}", seconds=MEMORY_SECONDS)
    peak = output.rstrip().rpartition("peak ")[2]
    return int(peak) if peak else None


def unsteady(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each row whose times changed too much while they were measured."""
    return [
        f"{row.network} in {row.engine} {row.precision}, batch {row.batch}, {row.size} px, {row.span}: not steady, "
        f"drift {row.drift:+.0%}, quartiles {row.spread:.0%} apart; quieten the machine and repeat"
        for row in rows
        if row.steady is False
    ]


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Write the rows as CSV, one line each. The file appears whole or not at all."""
    with (
        writing(path, DeployError, "choose another file"),
        whole(Path(path)) as partial,
        partial.open("w", newline="", encoding="utf-8") as stream,
    ):
        writer = csv.DictWriter(stream, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def write_json(rows: Sequence[Row], machine: Mapping[str, Any], path: str | Path) -> None:
    """Write the machine and the rows as JSON. The file appears whole or not at all."""
    text = json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1) + "\n"
    with writing(path, DeployError, "choose another file"):
        write_whole(Path(path), text)
