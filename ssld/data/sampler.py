"""Say which images stand in which batch: orders of epochs and shares of ranks, pure functions of seed and epoch."""

from __future__ import annotations

import numpy as np

from ssld.errors import DataError
from ssld.random import ORDER, bits


def epoch_order(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order of `n` samples in an epoch: an int64 permutation, the same on every rank and machine."""
    keys = bits(seed, ORDER, epoch, np.arange(n))[:, 0]
    place = np.uint64(max(n - 1, 1).bit_length())  # the low bits carry the sample, so sorting values sorts samples
    keys = (keys >> place << place) | np.arange(n, dtype=np.uint64)
    keys.sort()
    return (keys & ((np.uint64(1) << place) - np.uint64(1))).astype(np.int64)


def evenly(number: int, n: int) -> np.ndarray:
    """Return at most `number` positions spread evenly over 0 .. n - 1, both ends included, int64 in order."""
    return np.unique(np.linspace(0, n - 1, min(number, n)).round().astype(np.int64))


def steps_per_epoch(n: int, batch: int) -> int:
    """Count the whole global batches in `n` samples; the rest of an epoch is dropped.

    It raises DataError when there is none.
    """
    if n < batch:
        raise DataError(f"{n} training images do not fill one global batch of {batch}; lower the batch size")
    return n // batch


def steps(epochs: float, per_epoch: int) -> int:
    """Count the steps of so many epochs: any part of an epoch has at least one step, and no epoch has none."""
    return max(1, round(epochs * per_epoch)) if epochs else 0


def micro_size(batch: int, accumulate: int, world: int) -> int:
    """Count the images in one micro-batch of one rank. It raises DataError when the global batch does not divide."""
    if min(batch, accumulate, world) < 1 or batch % (accumulate * world):
        raise DataError(
            f"global batch {batch} does not divide into {world} ranks x {accumulate} accumulation steps; "
            f"choose a multiple of {world * accumulate}"
        )
    return batch // (accumulate * world)


def micro_slice(batch: int, accumulate: int, world: int, rank: int, micro: int) -> slice:
    """Return the positions within the global batch that `rank` takes in its `micro`-th micro-batch."""
    m = micro_size(batch, accumulate, world)
    start = (micro * world + rank) * m
    return slice(start, start + m)
