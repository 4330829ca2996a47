"""Times of calls that take turns, and what may be concluded from them.

The compared calls run in one process, a few runs each a round, every other round in reverse order: drift of the machine
(clock, temperature, other load) hits all alike, and a round's times of two calls are a pair.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TURN_RUNS = 25
"""Timed runs of one call in a round, at most; an untimed run before them brings its data back into the caches."""
TURN_SECONDS = 0.1
ROUNDS = 10
"""Rounds that there are at least, where the repeats allow it: pairs for a confidence interval."""
REST_SECONDS = 0.25
"""Pause before a turn with several threads: Paddle's OpenMP workers spin for 0.2 s after a call, which would take the
processor from whoever comes next."""
DRIFT, SPREAD = 0.05, 0.10
"""A steady series: medians of its first and last third no further apart than DRIFT, quartiles than SPREAD."""
FEWEST = 9
"""Runs from which on a series is judged, and rounds from which on there is an interval."""
RESAMPLES = 2000


def measure(
    calls: Sequence[Callable[[], object]],
    *,
    warmup: int,
    repeats: int,
    seconds: float | None = None,
    rest: float = 0.0,
) -> list[list[float]]:
    """Milliseconds of `repeats` runs of each call, in order. See `rounds`."""
    found = rounds(calls, warmup=warmup, repeats=repeats, seconds=seconds, rest=rest)
    return [[taken for turn in turns for taken in turn] for turns in found]


def rounds(
    calls: Sequence[Callable[[], object]],
    *,
    warmup: int,
    repeats: int,
    seconds: float | None = None,
    rest: float = 0.0,
) -> list[list[list[float]]]:
    """Of each call, of each round, the milliseconds of its runs: `repeats` over all rounds.

    When the calls have run for `seconds` times their number, no further round starts. `rest`: seconds before a turn.
    """
    slowest = max(_warm(call, warmup, seconds) for call in calls)
    turn = max(1, min(TURN_RUNS, repeats // ROUNDS, int(TURN_SECONDS / slowest)))
    limit = float("inf") if seconds is None else seconds * len(calls)
    found: list[list[list[float]]] = [[] for _ in calls]
    order = list(zip(calls, found, strict=True))
    spent, done = 0.0, 0
    while done < repeats and spent < limit:
        runs = min(turn, repeats - done)
        for call, turns in order:
            time.sleep(rest)
            began = time.perf_counter()
            turns.append(_turn(call, runs))
            spent += time.perf_counter() - began
        done += runs
        order.reverse()
    return found


def _turn(call: Callable[[], object], runs: int) -> list[float]:
    if runs > 1:
        call()
    taken = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - start) / 1e6)
    return taken


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


@dataclass(frozen=True)
class Steadiness:
    """How far a series of times can be trusted; shares of its median. Positive drift: it became slower."""

    drift: float
    spread: float

    @property
    def steady(self) -> bool:
        return abs(self.drift) <= DRIFT and self.spread <= SPREAD


def steadiness(taken: Sequence[float]) -> Steadiness | None:
    """Median of the last third against that of the first, and the distance of the quartiles; None of under FEWEST."""
    if len(taken) < FEWEST:
        return None
    third, (low, middle, high) = len(taken) // 3, np.percentile(taken, (25, 50, 75))
    drift = float(np.median(taken[-third:]) / np.median(taken[:third])) - 1
    return Steadiness(drift, float((high - low) / middle))


@dataclass(frozen=True)
class Ratio:
    """How many times as fast, and its 95 % interval; None where there are too few rounds for one."""

    value: float
    low: float | None
    high: float | None


def speedup(base: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Ratio:
    """How many times as fast `other` is as `base`, of their runs in the same rounds.

    The median over the rounds of the ratio of the two medians; its interval by drawing rounds again, with replacement
    (percentile bootstrap, RESAMPLES times, the same draws every time).
    """
    pairs = np.array([np.median(a) / np.median(b) for a, b in zip(base, other, strict=True)])
    value = float(np.median(pairs))
    if len(pairs) < FEWEST:
        return Ratio(value, None, None)
    drawn = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    low, high = np.percentile(np.median(pairs[drawn], axis=1), (2.5, 97.5))
    return Ratio(value, float(low), float(high))
