"""The validation images that a training set has to stay clear of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from threading import Lock

import cv2
import numpy as np

from ssld.data import FileList
from ssld.data.readable import Unreadable
from ssld.errors import DataError
from ssld.mine.candidates import Index, describe, views
from ssld.mine.duplicates import Features, features, same
from ssld.mine.picture import look
from ssld.mine.sources import Item
from ssld.spec.colours import WHITE, Colour

KEPT = 1 << 30  # bytes of validation pictures and features that stay in memory: at most 130 kB a picture


@dataclass(frozen=True)
class Near:
    """A validation image (its place in the list) that a pool image is a copy of, and the evidence (see `Match`)."""

    image: int
    inliers: int
    correlation: float


class Validation:
    """Finds near-duplicates of these images: candidates by descriptor, confirmed by SIFT and RANSAC.

    background: the colour behind transparent pixels, as of the images that are compared. Raises DataError for a
    validation image that cannot be read: copies of it could not be found.
    """

    def __init__(
        self,
        files: FileList,
        pool: Executor,
        progress: Callable[[int], None] = lambda images: None,
        background: Colour = WHITE,
    ):
        self._files, self._index, self._background = files, Index(), background
        self._features: OrderedDict[int, tuple[np.ndarray, Features]] = OrderedDict()
        self._held, self._lock = 0, Lock()
        cv2.setNumThreads(1)  # the threads are those of `pool`
        for start in range(0, len(files), 256):
            for described in pool.map(self._describe, range(start, min(start + 256, len(files)))):
                self._index.add(described)
            progress(min(start + 256, len(files)))

    def near(self, pictures: Sequence[np.ndarray], pool: Executor) -> list[tuple[Near | None, int]]:
        """For each grey picture uint8 [h, w]: the image that it is a copy of, and how many were looked at."""
        described = np.stack(list(pool.map(describe, pictures)))
        return list(pool.map(self._confirm, pictures, self._index.candidates(described)))

    def _confirm(self, grey: np.ndarray, candidates: list[tuple[int, bool]]) -> tuple[Near | None, int]:
        own: dict[bool, tuple[np.ndarray, Features]] = {}
        for looked, (image, mirrored) in enumerate(candidates, start=1):
            if mirrored not in own:
                turned = np.ascontiguousarray(grey[:, ::-1]) if mirrored else grey
                own[mirrored] = (turned, features(turned))
            match = same(*own[mirrored], *self._known(image))
            if match:
                return Near(image, match.inliers, match.correlation), looked
        return None, len(candidates)

    def _known(self, image: int) -> tuple[np.ndarray, Features]:
        known = self._features.get(image)
        if known is None:
            grey = self._grey(image)
            known = (grey, features(grey))
            with self._lock:
                if image not in self._features:
                    self._features[image] = known
                    self._held += _size(known)
                while self._held > KEPT:
                    self._held -= _size(self._features.popitem(last=False)[1])
        return known

    def _describe(self, image: int) -> np.ndarray:
        return np.stack([describe(view) for view in views(self._grey(image))])

    def _grey(self, image: int) -> np.ndarray:
        path = self._files.path(image)
        try:
            return look(Item(path, path), background=self._background).grey
        except Unreadable as error:
            raise DataError(
                f"{path}: unreadable validation image ({error}); mend it, or take it off the list"
            ) from None


def _size(known: tuple[np.ndarray, Features]) -> int:
    return sum(part.nbytes for part in known)
