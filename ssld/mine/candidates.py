"""Which validation images a picture may be a copy of: nearest neighbours of a short descriptor (faiss, exact search).

The descriptor holds the low frequencies of a picture's brightness, each weighted by its frequency, as natural images
have amplitudes of about 1 / frequency (doi:10.1364/JOSAA.4.002379), without their mean and scaled to length 1. What
lightens, darkens, recompresses or resizes a picture hardly moves it; a mirror image changes signs; a cut-out is found
as the validation images are indexed with their own cut-outs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import faiss
import numpy as np

CELLS = 32  # a picture is shrunk to CELLS x CELLS
FREQUENCIES = 8  # of them are kept, each way
WINDOWS = ((1.0, 1), (0.9, 3), (0.8, 4))  # share of a side that a cut-out keeps, and places each way
NEAREST = 8  # views that are looked at
LIKE = 0.65  # smallest cosine of a candidate


def _basis() -> np.ndarray:
    """The first rows of the orthonormal DCT-II: float32 [FREQUENCIES, CELLS]."""
    k, x = np.mgrid[0:FREQUENCIES, 0:CELLS]
    rows = np.cos(np.pi * k * (2 * x + 1) / (2 * CELLS)) * np.sqrt(2 / CELLS)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


BASIS = _basis()
FREQUENCY = np.hypot(*np.mgrid[0:FREQUENCIES, 0:FREQUENCIES]).astype(np.float32)
MIRROR = np.tile(np.where(np.arange(FREQUENCIES) % 2, -1, 1), FREQUENCIES)[1:].astype(np.float32)


def describe(grey: np.ndarray) -> np.ndarray:
    """float32 [FREQUENCIES ** 2 - 1] of a grey picture uint8 [h, w]: of length 1, or zeros for one without content."""
    cells = cv2.resize(grey, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    found = ((BASIS @ cells @ BASIS.T) * FREQUENCY).ravel()[1:]
    length = float(np.linalg.norm(found))
    return found / length if length > 1 else np.zeros_like(found)


def views(grey: np.ndarray) -> Iterator[np.ndarray]:
    """The picture and its cut-outs, see WINDOWS."""
    height, width = grey.shape
    for share, places in WINDOWS:
        h, w = max(1, round(share * height)), max(1, round(share * width))
        for top in np.linspace(0, height - h, places).round().astype(int):
            for left in np.linspace(0, width - w, places).round().astype(int):
                yield grey[top : top + h, left : left + w]


class Index:
    """Descriptors of the views of pictures that came in order: about 6.5 kB a picture."""

    def __init__(self) -> None:
        self._index: Any = faiss.IndexFlatIP(FREQUENCIES**2 - 1)
        self._views = sum(places**2 for _, places in WINDOWS)

    def add(self, described: np.ndarray) -> None:
        """The descriptors of one picture's views: float32 [views, d]."""
        self._index.add(described)

    def candidates(self, described: np.ndarray) -> list[list[tuple[int, bool]]]:
        """For each of n descriptors [n, d]: pictures (number, mirrored) that it may be a copy of, likeliest first."""
        asked = np.concatenate([described, described * MIRROR])
        cosine, view = self._index.search(asked, min(NEAREST, self._index.ntotal))
        both = zip(np.split(cosine, 2), np.split(view // self._views, 2), (False, True), strict=True)
        found: list[list[tuple[float, int, bool]]] = [[] for _ in described]
        for cosines, pictures, mirrored in both:
            for row, place in zip(*np.nonzero(cosines >= LIKE), strict=True):
                found[row].append((-float(cosines[row, place]), int(pictures[row, place]), mirrored))
        return [list(dict.fromkeys((picture, mirrored) for _, picture, mirrored in sorted(row))) for row in found]
