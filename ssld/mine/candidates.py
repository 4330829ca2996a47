"""This module finds the validation images that a picture may be a copy of: nearest neighbours of a short descriptor.

The search is exact (faiss). The descriptor holds the low frequencies of a picture's brightness, each weighted by its
frequency, because natural images have amplitudes of about 1 / frequency (doi:10.1364/JOSAA.4.002379); it leaves out
their mean and is scaled to length 1. Lighter, darker, recompressed or resized copies hardly change it, and a mirror
image only changes signs. A cut-out is found because the validation images are indexed with their own cut-outs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import faiss
import numpy as np

CELLS = 32  # a picture is shrunk to CELLS x CELLS
FREQUENCIES = 8  # so many frequencies are kept, each way
WINDOWS = ((1.0, 1), (0.9, 3), (0.8, 4))  # the share of a side that a cut-out keeps, and its places each way
NEAREST = 8  # so many views are looked at
LIKE = 0.65  # the smallest cosine of a candidate


def _basis() -> np.ndarray:
    """Return the first rows of the orthonormal DCT-II: float32 [FREQUENCIES, CELLS]."""
    k, x = np.mgrid[0:FREQUENCIES, 0:CELLS]
    rows = np.cos(np.pi * k * (2 * x + 1) / (2 * CELLS)) * np.sqrt(2 / CELLS)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


BASIS = _basis()
FREQUENCY = np.hypot(*np.mgrid[0:FREQUENCIES, 0:FREQUENCIES]).astype(np.float32)
MIRROR = np.tile(np.where(np.arange(FREQUENCIES) % 2, -1, 1), FREQUENCIES)[1:].astype(np.float32)


def describe(grey: np.ndarray) -> np.ndarray:
    """Return float32 [FREQUENCIES ** 2 - 1] of a grey picture uint8 [h, w].

    It has length 1, or is zero for a picture without content.
    """
    cells = cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    coefficients = ((BASIS @ cells @ BASIS.T) * FREQUENCY).ravel()[1:]
    length = float(np.linalg.norm(coefficients))
    return coefficients / length if length > 1 else np.zeros_like(coefficients)


def views(grey: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the picture and its cut-outs, see WINDOWS."""
    height, width = grey.shape
    for share, places in WINDOWS:
        h, w = max(1, round(share * height)), max(1, round(share * width))
        for top in np.linspace(0, height - h, places).round().astype(int):
            for left in np.linspace(0, width - w, places).round().astype(int):
                yield grey[top : top + h, left : left + w]


class Index:
    """Hold the descriptors of the views of pictures, in the order in which they were added: about 6.5 kB a picture."""

    def __init__(self) -> None:
        self._index: Any = faiss.IndexFlatIP(FREQUENCIES**2 - 1)
        self._views = sum(places**2 for _, places in WINDOWS)

    def add(self, descriptors: np.ndarray) -> None:
        """Add the descriptors of one picture's views: float32 [views, d]."""
        self._index.add(descriptors)

    def candidates(self, descriptors: np.ndarray) -> list[list[tuple[int, bool]]]:
        """Return for each of n descriptors [n, d] the pictures (number, mirrored) that it may be a copy of.

        The likeliest comes first.
        """
        queries = np.concatenate([descriptors, descriptors * MIRROR])
        cosine, view = self._index.search(queries, min(NEAREST, self._index.ntotal))
        both = zip(np.split(cosine, 2), np.split(view // self._views, 2), (False, True), strict=True)
        result: list[list[tuple[float, int, bool]]] = [[] for _ in descriptors]
        for cosines, pictures, mirrored in both:
            for row, place in zip(*np.nonzero(cosines >= LIKE), strict=True):
                result[row].append((-float(cosines[row, place]), int(pictures[row, place]), mirrored))
        return [list(dict.fromkeys((picture, mirrored) for _, picture, mirrored in sorted(row))) for row in result]
