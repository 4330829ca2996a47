"""Choose labelled images of a training set that are held out of training, so that choices can be made on them.

Which images they are follows from the seed and from the bytes of the files alone: neither the names of the files, nor
the order of a list, nor the machine changes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from ssld.data.lists import UNLABELLED, FileList
from ssld.errors import DataError
from ssld.files import sha256

Counted = Callable[[int], None]  # a function that is called with the number of images that were read


def contents(images: FileList, counted: Counted = lambda done: None) -> list[str]:
    """Return the sha256 of each image file. Raises DataError, which names the image, for one that cannot be read."""
    digests = []
    for index in range(len(images)):
        digests.append(_content(images, index))
        counted(index + 1)
    return digests


def choose_held_out(labels: np.ndarray, digests: list[str], share: float, seed: int) -> np.ndarray:
    """Return the positions of the images to hold out, in ascending order: of every class the share `share`, at least 1.

    labels: int64 [n]. digests: the sha256 of each image. The images of a class are ordered by sha256 of the seed and
    their digest, and the first ones are held out. Of files with the same bytes and label one is chosen at most. An
    unlabelled image is never chosen. Raises DataError where no image has a label, and for a class with too few.
    """
    chosen: list[int] = []
    for label in np.unique(labels[labels != UNLABELLED]):
        first: dict[str, int] = {}
        for position in np.flatnonzero(labels == label):
            first.setdefault(digests[position], int(position))
        if len(first) < 2:
            what = f"class {label} has one labelled image, and a slice needs one that is held out and one that stays"
            raise DataError(f"{what}; give more labelled images")
        order = sorted(first, key=lambda digest: hashlib.sha256(f"{seed} {digest}".encode()).digest())
        count = min(max(round(share * len(order)), 1), len(order) - 1)
        chosen += [first[digest] for digest in order[:count]]
    if not chosen:
        raise DataError("no training image has a label, so that none can be held out; give labelled images")
    return np.sort(np.array(chosen, dtype=np.int64))


def positions_without(images: FileList, held: Collection[str], sizes: Collection[int]) -> np.ndarray:
    """Return the positions of the images whose bytes are none of the held-out ones, in ascending order.

    held: the sha256 of the images that are held out; sizes: the bytes that those files have. Only files of such a size
    are read. Raises DataError, which names the image, for one that cannot be read.
    """
    stay = [i for i in range(len(images)) if size_of(images, i) not in sizes or _content(images, i) not in held]
    return np.array(stay, dtype=np.int64)


def size_of(images: FileList, index: int) -> int:
    """Return the bytes of an image file. Raises DataError, which names the image, where there is none."""
    try:
        return os.stat(images.path(index)).st_size
    except OSError as error:
        raise _unreadable(images, index, error) from None


def _content(images: FileList, index: int) -> str:
    try:
        return sha256(Path(images.path(index)))
    except OSError as error:
        raise _unreadable(images, index, error) from None


def _unreadable(images: FileList, index: int, error: OSError) -> DataError:
    return DataError(f"{images.name(index)}: cannot be read ({error.strerror}); {images.remedy}")
