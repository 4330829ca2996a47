"""Latency of exported networks, model only: copy in, run, copy out, on random input.

The compared (network, engine) pairs take turns in one process, a few runs each a round, so that drift of the machine
(clock, temperature, other load) hits all alike. Warm-up and repeats default to PaddleClas's published protocol: 10
runs dropped, 500 timed.
"""

import csv
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy.child import reason
from ssld.deploy.engines.registry import Engine, Run, ready
from ssld.errors import DeployError

QUICK_WARMUP, QUICK_REPEATS, QUICK_SECONDS = 3, 50, 1.0
TURN_RUNS = 25
"""Timed runs of one pair in a round, at most; an untimed run before them brings its weights back into the caches."""
TURN_SECONDS = 0.1
REST_SECONDS = 0.25
"""Pause before a turn with several threads: Paddle's OpenMP workers spin for 0.2 s after a call, which would take the
processor from whoever comes next."""


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


@dataclass(frozen=True)
class Loaded:
    """A network loaded in an engine."""

    network: str
    engine: str
    precision: str
    threads: int
    model_bytes: int
    size: int
    any_size: bool
    run: Run


def bench(
    networks: Mapping[str, str | Path],
    *,
    engines: Sequence[str] = ("paddle", "onednn", "onnxruntime"),
    batch_sizes: Sequence[int] = (1,),
    image_sizes: Sequence[int] | None = None,
    threads: int = 1,
    warmup: int = 10,
    repeats: int = 500,
    quick: bool = False,
    seconds: float | None = None,
) -> list[Row]:
    """Time exported folders ({label: folder}) in engines; rows in the order batch, size, network, engine.

    image_sizes: pixels of a side; None = each network at the size of its own contract. seconds: limit of a
    configuration, warm-up not counted; its row says how many repeats fitted (at least one turn). quick: 3 + at most 50
    runs in at most a second. Raises RecipeError or DeployError, one line, for an unknown or unusable engine, a folder
    that is no export, a size that the network does not take, and numbers below 1.
    """
    if quick:
        warmup, repeats, seconds = QUICK_WARMUP, QUICK_REPEATS, seconds or QUICK_SECONDS
    check_numbers(batch_sizes=batch_sizes, image_sizes=image_sizes or (1,), repeats=(repeats,))
    if not networks or not engines:
        raise DeployError("bench: no network or no engine given; name at least one of each")
    chosen = {name: ready(name, threads=threads) for name in engines}
    loaded = [_load(label, Path(folder), name, chosen[name]) for label, folder in networks.items() for name in engines]
    sizes: Sequence[int | None] = image_sizes or (None,)
    for side in image_sizes or ():
        check_size(loaded, side)
    rows: list[Row] = []
    for batch in batch_sizes:
        for size in sizes:
            rows += _configuration(loaded, batch, size, warmup, repeats, seconds)
    return rows


def _load(label: str, folder: Path, name: str, engine: Engine) -> Loaded:
    contract = contracts.read(folder)
    form = contracts.FORMATS[engine.reads[engine.precision]]
    files = form.among(contract["files"])
    contracts.check_files(folder, contract, files)
    size = sum(contract["files"][file]["bytes"] for file in files)
    any_size = "height" in contract["input"]["dynamic"]
    pixels = contract["input"]["size"]
    return Loaded(label, name, engine.precision, engine.threads, size, pixels, any_size, engine.load(folder))


def check_numbers(**numbers: Sequence[int]) -> None:
    """Raise DeployError when a list is empty or holds a number below 1."""
    for what, values in numbers.items():
        if not values or min(values) < 1:
            raise DeployError(f"bench: {what.replace('_', ' ')} {list(values)}; give numbers of 1 or more")


def check_size(loaded: Sequence[Loaded], size: int) -> None:
    """Raise DeployError when a network was exported for another, fixed size."""
    for pair in loaded:
        if size != pair.size and not pair.any_size:
            raise DeployError(f"bench: {pair.network} takes {pair.size} px only, not {size}; drop that image size")


def _configuration(
    loaded: Sequence[Loaded], batch: int, size: int | None, warmup: int, repeats: int, seconds: float | None
) -> list[Row]:
    rng = np.random.default_rng(0)
    calls = []
    for pair in loaded:
        side = size or pair.size
        calls.append(_call(pair, rng.random((batch, 3, side, side), np.float32)))
    rest = REST_SECONDS if loaded[0].threads > 1 else 0.0
    times = measure(calls, warmup=warmup, repeats=repeats, seconds=seconds, rest=rest)
    return [_row(pair, batch, size or pair.size, taken) for pair, taken in zip(loaded, times, strict=True)]


def _call(pair: Loaded, images: np.ndarray) -> Callable[[], object]:
    """The call to time, tried once: an engine may refuse a shape."""
    try:
        pair.run(images)
    except Exception as error:  # each engine has its own exceptions
        what = f"bench: {pair.network} in {pair.engine} cannot run {list(images.shape)}"
        raise DeployError(f"{what}; {reason(str(error))}") from error
    return lambda: pair.run(images)


def measure(
    calls: Sequence[Callable[[], object]],
    *,
    warmup: int,
    repeats: int,
    seconds: float | None = None,
    rest: float = 0.0,
) -> list[list[float]]:
    """Milliseconds of `repeats` runs of each call; the calls take turns, every other round in reverse order.

    When the calls have run for `seconds` times their number, no further round starts. `rest`: seconds before a turn.
    """
    slowest = max(_warm(call, warmup, seconds) for call in calls)
    turn = max(1, min(TURN_RUNS, repeats, int(TURN_SECONDS / slowest)))
    limit = float("inf") if seconds is None else seconds * len(calls)
    times: list[list[float]] = [[] for _ in calls]
    order = list(zip(calls, times, strict=True))
    spent = 0.0
    while len(times[0]) < repeats and spent < limit:
        for call, taken in order:
            time.sleep(rest)
            began = time.perf_counter()
            if turn > 1:
                call()
            for _ in range(min(turn, repeats - len(taken))):
                start = time.perf_counter_ns()
                call()
                taken.append((time.perf_counter_ns() - start) / 1e6)
            spent += time.perf_counter() - began
        order.reverse()
    return times


def _warm(call: Callable[[], object], runs: int, seconds: float | None) -> float:
    """Run untimed, at least once and at most `seconds`; returns the fastest run in seconds."""
    began, fastest = time.perf_counter(), float("inf")
    for _ in range(max(1, runs)):
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
        if seconds is not None and time.perf_counter() - began > seconds:
            break
    return max(fastest, 1e-9)


def _row(pair: Loaded, batch: int, size: int, taken: Sequence[float]) -> Row:
    mean = float(np.mean(taken))
    p50, p90, p99 = (round(float(p), 4) for p in np.percentile(taken, (50, 90, 99)))
    return Row(
        network=pair.network,
        engine=pair.engine,
        precision=pair.precision,
        batch=batch,
        size=size,
        threads=pair.threads,
        repeats=len(taken),
        mean_ms=round(mean, 4),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        images_per_second=round(1e3 * batch / mean, 2),
        model_bytes=pair.model_bytes,
    )


def write_csv(rows: Sequence[Row], path: str | Path) -> None:
    """Write bench.csv, one line a row; the file appears whole or not at all."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, [field.name for field in fields(Row)], lineterminator="\n")
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
        os.replace(partial, path)
    except OSError as error:
        raise DeployError(f"{path}: cannot be written ({error.strerror}); choose another file") from error
