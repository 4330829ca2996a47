"""Make one `ImageSource` of images in whatever form a caller has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ssld.data.lists import FileList, read_list
from ssld.data.scoring import refuse_scoring
from ssld.data.sources import ImageSource, Indexed, Joined, Pixels, Samples, from_arrays, from_samples
from ssld.errors import DataError

Labels: TypeAlias = Sequence[int | None] | npt.NDArray[np.int64]
"""One whole number an image; None or -1 where an image has no label."""
Arrays: TypeAlias = Pixels | Sequence[Pixels]
Images: TypeAlias = (
    ImageSource
    | Arrays
    | tuple[Arrays, Labels | None]
    | str
    | os.PathLike[str]
    | Iterable[object]
    | Indexed
    | Callable[[], Iterable[object] | Indexed]
)
"""The pair (images, labels) of arrays as `from_arrays` takes them; images alone, which then have no labels; samples as
`from_samples` takes them, (image, label) or {"image": ..., "label": ...}; the path of a list file, whose paths are
relative to its folder; or a data set of `ssld.data`."""


def source_of(images: Images, labels: Labels | None = None, *, classes: int, name: str) -> ImageSource:
    """Return the data set of these images. labels: their labels, where `images` does not give them.

    It raises DataError, one line that names the image, where it is no image or its label is none of the `classes`.
    """
    if isinstance(images, (str, os.PathLike)):
        _refuse_labels(labels, name, "a list file says the labels")
        refuse_scoring(Path(images))
        return read_list(images, Path(images).parent, classes)
    if isinstance(images, (FileList, Samples, Joined)):
        _refuse_labels(labels, name, "the data set says the labels")
        return _checked(images, classes)
    if isinstance(images, tuple) and len(images) == 2 and _are_arrays(images[0]):
        _refuse_labels(labels, name, "(images, labels) says the labels")
        pair = cast("tuple[Arrays, Labels | None]", images)
        return from_arrays(*pair, classes=classes, name=name)
    if _are_arrays(images):
        return from_arrays(cast(Arrays, images), labels, classes=classes, name=name)
    return from_samples(images, labels, classes=classes, name=name)


def _are_arrays(images: object) -> bool:
    """Say whether these are images in arrays, and not samples."""
    if isinstance(images, np.ndarray):
        return True
    return isinstance(images, list) and all(isinstance(image, np.ndarray) for image in images)


def _refuse_labels(labels: Labels | None, name: str, why: str) -> None:
    if labels is not None:
        raise DataError(f"{name}: labels are given twice: {why}; leave one of them out")


def _checked(images: ImageSource, classes: int) -> ImageSource:
    wrong = np.flatnonzero((images.labels < -1) | (images.labels >= classes))
    if wrong.size:
        where, label = images.name(int(wrong[0])), images.labels[wrong[0]]
        raise DataError(f"{where}: label {label} is out of range; there are {classes} classes, labels 0..{classes - 1}")
    return images
