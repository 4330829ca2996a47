"""Draw random numbers without a state. Every draw is a pure function of (seed, stream, epoch, index).

Nothing therefore has to be saved. The numbers come from SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom
number generators, OOPSLA 2014; constants as published there and in Vigna's reference), used as a counter-based
generator on whole arrays.
"""

from __future__ import annotations

import numpy as np

ORDER, AUGMENT, MIX, LOSS, SHIFT = 1, 2, 3, 4, 5  # streams, so that draws for different purposes never share numbers
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def _mix64(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bits(seed: int, stream: int, epoch: int, index: np.ndarray, lanes: int = 1) -> np.ndarray:
    """Return random uint64 [n, lanes], one row for each entry of `index` (whole numbers >= 0)."""
    key = np.zeros(1, dtype=np.uint64)
    for number in (seed, stream, epoch):
        key = _mix64((key ^ np.uint64(number % 2**64)) + _GAMMA)
    rows = _mix64(key ^ _mix64(np.asarray(index).astype(np.uint64) + _GAMMA))
    return _mix64(rows[:, None] + _GAMMA * np.arange(1, lanes + 1, dtype=np.uint64))


def uniform(seed: int, stream: int, epoch: int, index: np.ndarray, lanes: int = 1) -> np.ndarray:
    """Return uniform float64 [n, lanes] in [0, 1)."""
    return (bits(seed, stream, epoch, index, lanes) >> np.uint64(11)) * 2.0**-53
