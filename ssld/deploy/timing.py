"""This module times calls that take turns, and says what may be concluded from the times.

The compared calls run in one process, a few runs each a round, every other round in reverse order. So a drift of the
machine (clock, temperature, other load) affects all alike, and the times of two calls in a round are a pair.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

TURN_RUNS = 25
"""A call has at most so many timed runs in a round. An untimed run before them brings its data back into the caches."""
TURN_SECONDS = 0.1
ROUNDS = 10
"""There are at least so many rounds, where the repeats allow it: they give the pairs of a confidence interval."""
REST_SECONDS = 0.25
"""The pause before a turn with several threads.

Paddle's OpenMP workers spin for 0.2 s after a call, which would take the processor from the next call.
"""
DRIFT, SPREAD = 0.05, 0.10
"""In a steady series the medians of the first and the last third differ by at most DRIFT, the quartiles by SPREAD."""
FEWEST = 9
"""A series is judged from so many runs on, and an interval is given from so many rounds on."""
RESAMPLES = 2000


def measure(
    calls: Sequence[Callable[[], object]],
    *,
    warmup: int,
    repeats: int,
    seconds: float | None = None,
    rest: float = 0.0,
) -> list[list[float]]:
    """Return the milliseconds of `repeats` runs of each call, in order. See `rounds`."""
    results = rounds(calls, warmup=warmup, repeats=repeats, seconds=seconds, rest=rest)
    return [[value for turn in turns for value in turn] for turns in results]


def rounds(
    calls: Sequence[Callable[[], object]],
    *,
    warmup: int,
    repeats: int,
    seconds: float | None = None,
    rest: float = 0.0,
) -> list[list[list[float]]]:
    """Return for each call and each round the milliseconds of its runs; over all rounds there are `repeats`.

    When the calls have run for `seconds` times their number, no further round starts. rest: seconds to wait before a
    turn.
    """
    slowest = max(_warm(call, warmup, seconds) for call in calls)
    turn = max(1, min(TURN_RUNS, repeats // ROUNDS, int(TURN_SECONDS / slowest)))
    limit = float("inf") if seconds is None else seconds * len(calls)
    results: list[list[list[float]]] = [[] for _ in calls]
    order = list(zip(calls, results, strict=True))
    spent, count = 0.0, 0
    while count < repeats and spent < limit:
        runs = min(turn, repeats - count)
        for call, turns in order:
            time.sleep(rest)
            start = time.perf_counter()
            turns.append(_turn(call, runs))
            spent += time.perf_counter() - start
        count += runs
        order.reverse()
    return results


def _turn(call: Callable[[], object], runs: int) -> list[float]:
    """Run a call `runs` times and return the milliseconds of each run."""
    if runs > 1:
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        call()
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def _warm(call: Callable[[], object], runs: int, seconds: float | None) -> float:
    """Run a call without timing it, at least once and at most `seconds`; return its fastest run in seconds."""
    first, fastest = time.perf_counter(), float("inf")
    for _ in range(max(1, runs)):
        start = time.perf_counter()
        call()
        fastest = min(fastest, time.perf_counter() - start)
        if seconds is not None and time.perf_counter() - first > seconds:
            break
    return max(fastest, 1e-9)


@dataclass(frozen=True)
class Steadiness:
    """Say how far a series of times can be trusted, in shares of its median.

    A positive drift means that it became slower.
    """

    drift: float
    spread: float

    @property
    def steady(self) -> bool:
        """Return whether the series is steady."""
        return abs(self.drift) <= DRIFT and self.spread <= SPREAD


def steadiness(times: Sequence[float]) -> Steadiness | None:
    """Compare the median of the last third with that of the first, and the quartiles.

    Returns None for fewer than FEWEST times.
    """
    if len(times) < FEWEST:
        return None
    third, (low, middle, high) = len(times) // 3, np.percentile(times, (25, 50, 75))
    drift = float(np.median(times[-third:]) / np.median(times[:third])) - 1
    return Steadiness(drift, float((high - low) / middle))


@dataclass(frozen=True)
class Ratio:
    """Say how many times as fast one call is as another, with the 95 % interval.

    The interval is None where there are too few rounds for one.
    """

    value: float
    low: float | None
    high: float | None


def speedup(base: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> Ratio:
    """Return how many times as fast `other` is as `base`, from their runs in the same rounds.

    It is the median over the rounds of the ratio of the two medians. Its interval comes from drawing rounds again, with
    replacement (percentile bootstrap, RESAMPLES times, the same draws every time).
    """
    pairs = np.array([np.median(a) / np.median(b) for a, b in zip(base, other, strict=True)])
    value = float(np.median(pairs))
    if len(pairs) < FEWEST:
        return Ratio(value, None, None)
    draws = np.random.default_rng(0).integers(0, len(pairs), (RESAMPLES, len(pairs)))
    low, high = np.percentile(np.median(pairs[draws], axis=1), (2.5, 97.5))
    return Ratio(value, float(low), float(high))
