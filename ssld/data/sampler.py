"""Which images stand in which batch: orders of epochs and shares of ranks, pure functions of seed and epoch."""

from __future__ import annotations

import numpy as np

from ssld.errors import DataError
from ssld.random import ORDER, bits


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
