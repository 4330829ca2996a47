"""This module holds the validation images, of which a training set must contain no copies."""

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
from ssld.mine.picture import Picture, look
from ssld.mine.sources import Item
from ssld.spec.colours import WHITE, Colour

KEPT = 1 << 30  # so many bytes of pictures and features stay in memory: at most 130 kB a picture


@dataclass(frozen=True)
class Near:
    """Name a validation image, by its place in the list, that a pool image is a copy of, with the evidence."""

    image: int
    inliers: int
    correlation: float


class Validation:
    """It finds near-duplicates of these images: candidates by descriptor, confirmed by SIFT and RANSAC.

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
        self._features: OrderedDict[int, tuple[Picture, Features]] = OrderedDict()
        self._bytes, self._lock = 0, Lock()
        cv2.setNumThreads(1)  # the threads are those of `pool`
        for start in range(0, len(files), 256):
            for descriptors in pool.map(self._describe, range(start, min(start + 256, len(files)))):
                self._index.add(descriptors)
            progress(min(start + 256, len(files)))

    def near(self, pictures: Sequence[Picture], pool: Executor) -> list[tuple[Near | None, int]]:
        """Return for each picture the image that it is a copy of.

        Beside it stands the number of images that were compared.
        """
        descriptors = np.stack(list(pool.map(lambda picture: describe(picture.grey), pictures)))
        return list(pool.map(self._confirm, pictures, self._index.candidates(descriptors)))

    def _confirm(self, picture: Picture, candidates: list[tuple[int, bool]]) -> tuple[Near | None, int]:
        """Compare a picture with its candidates until one of them is the same."""
        own: dict[bool, tuple[np.ndarray, Features]] = {}
        for looked, (image, mirrored) in enumerate(candidates, start=1):
            if mirrored not in own:
                turned = np.ascontiguousarray(picture.grey[:, ::-1]) if mirrored else picture.grey
                own[mirrored] = (turned, features(turned))
            other, its = self._entry(image)
            match = same(*own[mirrored], other.grey, its, cut_out=picture.transparent or other.transparent)
            if match:
                return Near(image, match.inliers, match.correlation), looked
        return None, len(candidates)

    def _entry(self, image: int) -> tuple[Picture, Features]:
        """Return a validation picture and its features, from memory where they are still there."""
        entry = self._features.get(image)
        if entry is None:
            picture = self._picture(image)
            entry = (picture, features(picture.grey))
            with self._lock:
                if image not in self._features:
                    self._features[image] = entry
                    self._bytes += _size(entry)
                while self._bytes > KEPT:
                    self._bytes -= _size(self._features.popitem(last=False)[1])
        return entry

    def _describe(self, image: int) -> np.ndarray:
        """Return the descriptors of all views of a validation image."""
        return np.stack([describe(view) for view in views(self._picture(image).grey)])

    def _picture(self, image: int) -> Picture:
        """Read a validation image."""
        path = self._files.path(image)
        try:
            return look(Item(path, path), background=self._background)
        except Unreadable as error:
            raise DataError(
                f"{path}: unreadable validation image ({error}); mend it, or take it off the list"
            ) from None


def _size(entry: tuple[Picture, Features]) -> int:
    """Return the bytes that a picture and its features take."""
    return entry[0].grey.nbytes + entry[1].nbytes
