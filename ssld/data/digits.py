"""Prepare 1,797 real handwritten digits of 8 x 8 pixels. scikit-learn carries them, so nothing is downloaded.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, 1998 (its test part).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping

import numpy as np
from PIL import Image

from ssld.data.lists import FileList, read_list
from ssld.data.split import take_per_class
from ssld.data.target import Prepared, Progress, Target
from ssld.errors import DataError

VAL = 60  # validation images of each class
DEV = 30  # how many of these are for choices; the others are the test images


def prepare(out: str | os.PathLike[str], progress: Progress, labelled: int = 18) -> Prepared:
    """Write PNG files (grey 0..16 stretched to 0..255) and lists: `save_parts`, dev, test.

    600 images, 60 of each class, are for validation; of the other 1,197 each class keeps the labels of `labelled` (18:
    180 images, 15 %). dev and test are the two halves of val: choices are made on dev, and test is looked at once. The
    split is fixed (seed 0) and stratified. It raises DataError where scikit-learn is missing.
    """
    target = Target("digits", out, {"labelled": labelled})
    if not 1 <= labelled <= 100:
        raise DataError(f"data prepare digits: labelled {labelled} is out of range; give 1..100 images of each class")
    if data_set := target.done(("dev.txt", "test.txt")):
        return data_set
    if not target.older:
        images, labels = load()
        paths = [f"images/{number:04d}.png" for number in range(len(labels))]
        for number, (path, image) in enumerate(zip(paths, images, strict=True), start=1):
            target.save(path, png(image))
            progress(number, len(paths))
        val, with_label, without_label = take_per_class(labels, [VAL, labelled], seed=0)
        save_parts(target, paths, labels, val=val, labelled=with_label, unlabelled=without_label)
    val_list = read_list(target.out / "val.txt", target.out)
    save_subsets(
        target, val_list, dict(zip(("dev", "test"), take_per_class(val_list.labels, [DEV], seed=0), strict=True))
    )
    return target.finish([str(digit) for digit in range(10)])


def save_subsets(target: Target, files: FileList, parts: Mapping[str, np.ndarray]) -> None:
    """Write lists of some images of a list that is in the folder already: name -> positions in it."""
    for name, part in parts.items():
        subset = files.subset(part)
        target.save_list(f"{name}.txt", subset.paths, subset.labels.tolist())


def load() -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8 [1797, 8, 8], and labels [1797]. It raises DataError where scikit-learn is missing."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise DataError("data prepare digits: scikit-learn is not installed; pip install scikit-learn") from None
    pixels, labels = load_digits(return_X_y=True)
    return np.rint(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8), labels


def png(image: np.ndarray) -> bytes:
    """Return one image, uint8 [h, w] or [h, w, 3], as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def save_parts(
    target: Target,
    paths: list[str],
    labels: np.ndarray,
    *,
    val: np.ndarray,
    labelled: np.ndarray,
    unlabelled: np.ndarray,
) -> None:
    """Write train_labelled, train_unlabelled, train_all and val from positions in `paths`.

    train_all has every label.
    """
    train_all = np.sort(np.concatenate([labelled, unlabelled]))
    for name, part in (("train_labelled", labelled), ("train_all", train_all), ("val", val)):
        target.save_list(f"{name}.txt", [paths[i] for i in part], labels[part].tolist())
    target.save_list("train_unlabelled.txt", [paths[i] for i in unlabelled])
