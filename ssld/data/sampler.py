"""Stateless randomness: every draw is a pure function of (seed, stream, epoch, index), so nothing has to be saved.

The numbers come from SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014;
constants as published there and in Vigna's reference) used as a counter-based generator on whole arrays.
"""

from __future__ import annotations

import numpy as np

from ssld.errors import DataError

ORDER, AUGMENT, MIX = 1, 2, 3  # streams: draws for different purposes never share numbers
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix64(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bits(seed: int, stream: int, epoch: int, index: np.ndarray, lanes: int = 1) -> np.ndarray:
    """Random uint64 [n, lanes], one row for each entry of `index` (whole numbers >= 0)."""
    key = np.zeros(1, dtype=np.uint64)
    for part in (seed, stream, epoch):
        key = _mix64((key ^ np.uint64(part % 2**64)) + _GAMMA)
    rows = _mix64(key ^ _mix64(np.asarray(index).astype(np.uint64) + _GAMMA))
    return _mix64(rows[:, None] + _GAMMA * np.arange(1, lanes + 1, dtype=np.uint64))


def uniform(seed: int, stream: int, epoch: int, index: np.ndarray, lanes: int = 1) -> np.ndarray:
    """Uniform float64 [n, lanes] in [0, 1)."""
    return (bits(seed, stream, epoch, index, lanes) >> np.uint64(11)) * 2.0**-53


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of `n` samples in an epoch: an int64 permutation, the same on every rank and machine."""
    keys = bits(seed, ORDER, epoch, np.arange(n))[:, 0]
    place = np.uint64(max(n - 1, 1).bit_length())  # the low bits carry the sample, so sorting values sorts samples
    keys = (keys >> place << place) | np.arange(n, dtype=np.uint64)
    keys.sort()
    return (keys & ((np.uint64(1) << place) - np.uint64(1))).astype(np.int64)


def evenly(number: int, n: int) -> np.ndarray:
    """At most `number` positions spread evenly over 0 .. n - 1, both ends included, int64 in order."""
    return np.unique(np.linspace(0, n - 1, min(number, n)).round().astype(np.int64))


def steps_per_epoch(n: int, batch: int) -> int:
    """Whole global batches in `n` samples (the rest of an epoch is dropped); DataError when there is none."""
    if n < batch:
        raise DataError(f"{n} training images do not fill one global batch of {batch}; lower the batch size")
    return n // batch


def steps(epochs: float, per_epoch: int) -> int:
    """Steps of so many epochs, at least one of any part of an epoch, and none of none."""
    return max(1, round(epochs * per_epoch)) if epochs else 0


def micro_size(batch: int, accumulate: int, world: int) -> int:
    """Images in one micro-batch of one rank; DataError when the global batch does not divide."""
    if min(batch, accumulate, world) < 1 or batch % (accumulate * world):
        raise DataError(
            f"global batch {batch} does not divide into {world} ranks x {accumulate} accumulation steps; "
            f"choose a multiple of {world * accumulate}"
        )
    return batch // (accumulate * world)


def micro_slice(batch: int, accumulate: int, world: int, rank: int, micro: int) -> slice:
    """Positions within the global batch that `rank` takes in its `micro`-th micro-batch."""
    m = micro_size(batch, accumulate, world)
    start = (micro * world + rank) * m
    return slice(start, start + m)
