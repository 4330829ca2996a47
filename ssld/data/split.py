"""Split data sets stratified by class: the same seed gives the same images on every machine."""

from __future__ import annotations

import numpy as np

from ssld.data.sampler import epoch_order


def take_per_class(labels: np.ndarray, counts: list[int], seed: int) -> list[np.ndarray]:
    """Take of every class as many images as each of `counts` says; return their positions, and last those of the rest.

    The positions of each part are in ascending order.
    """
    parts: list[list[np.ndarray]] = [[] for _ in range(len(counts) + 1)]
    for label in np.unique(labels):
        positions = np.flatnonzero(labels == label)
        positions = positions[epoch_order(seed, int(label), len(positions))]
        for part, chunk in zip(parts, np.split(positions, np.cumsum(counts)), strict=True):
            part.append(chunk)
    return [np.sort(np.concatenate(part)) for part in parts]
