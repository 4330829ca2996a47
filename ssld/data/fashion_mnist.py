"""Prepare Fashion-MNIST: 60,000 + 10,000 grey images of 28 x 28 pixels in ten classes (arXiv:1708.07747)."""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.request
import zlib
from pathlib import Path

import numpy as np

from ssld.data.digits import png, save_parts, save_subsets
from ssld.data.lists import read_list
from ssld.data.split import take_per_class
from ssld.data.target import Prepared, Progress, Target
from ssld.errors import DataError

LABELLED = 600  # of each class, unless the caller asks for another number
EACH, DEV = 6000, 500  # training images of a class, and how many of these are for choices
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DEBIAN = "/usr/share/datasets/fashion-mnist"  # where Debian's package dataset-fashion-mnist puts the files
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # plain http is safe here: the content is pinned
# These are the sha256 after gunzip: Debian repacks the gzip files, but their content is the published one.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def prepare(
    out: str | os.PathLike[str],
    progress: Progress,
    source: str | os.PathLike[str] | None = None,
    labelled: int = LABELLED,
) -> Prepared:
    """Write PNG files and the lists train_labelled, train_unlabelled, train_all (every label known) and val.

    source: a folder with the four IDX files (gzipped or not); without it Debian's package is used where it is
    installed, else the files are downloaded. Each class keeps `labelled` labels (600: 6,000 images, 54,000 are
    unlabelled); the split is stratified, with seed 0. `save_apart` adds the lists for choices and for the test. It
    raises DataError for missing files and for content whose sha256 is not the pinned one.
    """
    target = Target("fashion_mnist", out, {"labelled": labelled})
    if not 1 <= labelled <= 5999:
        raise DataError(f"data prepare fashion_mnist: labelled {labelled} is out of range; give 1..5999 of each class")
    if data_set := target.done(("test.txt", *(APART if _has_dev(labelled) else ()))):
        return data_set
    if not target.older:
        (images, labels), (val_images, val_labels) = (_part(part, source) for part in ("train", "t10k"))
        paths = [f"train/{i:05d}.png" for i in range(len(images))]
        paths += [f"val/{i:05d}.png" for i in range(len(val_images))]
        for number, (path, image) in enumerate(zip(paths, (*images, *val_images), strict=True), start=1):
            target.save(path, png(image))
            if number % 500 == 0:
                progress(number, len(paths))
        with_label, without_label = take_per_class(labels, [labelled], seed=0)
        val = np.arange(len(labels), len(paths))
        save_parts(
            target, paths, np.concatenate([labels, val_labels]), val=val, labelled=with_label, unlabelled=without_label
        )
    save_apart(target, labelled)
    return target.finish(CLASSES)


APART = ("dev.txt", "train_unlabelled_without_dev.txt", "train_all_without_dev.txt")


def _has_dev(labelled: int) -> bool:
    """Say whether so many labelled images of each class leave enough others for dev and for training."""
    return labelled < EACH - DEV


def save_apart(target: Target, labelled: int) -> None:
    """Write what a comparison needs whose choices never see the test images, from the lists that are in the folder.

    test: the published test images, those of val. dev: the last 500 training images of each class in the drawn order,
    whose first ones are labelled; so it is the same for any number of labels, and shares no image with
    train_labelled. train_unlabelled_without_dev and train_all_without_dev: what is left for the training. With 5,500
    labels of a class and more there is no room for dev, and a remark says so.
    """
    out = target.out
    val, train_all, unlabelled = (
        read_list(out / f"{name}.txt", out) for name in ("val", "train_all", "train_unlabelled")
    )
    save_subsets(target, val, {"test": np.arange(len(val))})
    if not _has_dev(labelled):
        target.remarks.append(f"no dev.txt: {labelled} labels of a class leave no {DEV} other images of it")
        return
    kept, dev = take_per_class(train_all.labels, [EACH - DEV], seed=0)
    save_subsets(target, train_all, {"dev": dev, "train_all_without_dev": kept})
    held_out = {train_all.paths[i] for i in dev}
    target.save_list("train_unlabelled_without_dev.txt", [path for path in unlabelled.paths if path not in held_out])


def training_part(source: str | os.PathLike[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the 60,000 training images, uint8 [n, 28, 28], and their labels [n].

    It raises DataError as `prepare` does.
    """
    return _part("train", source)


def _part(part: str, source: str | os.PathLike[str] | None) -> tuple[np.ndarray, np.ndarray]:
    images, labels = (read_idx(_content(f"{part}-{kind}-ubyte", source)) for kind in ("images-idx3", "labels-idx1"))
    return images, labels


def read_idx(content: bytes) -> np.ndarray:
    """Return the uint8 array in an IDX file.

    The file holds two zero bytes, the type 8, the number of axes, their lengths (big-endian) and the data.
    """
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise DataError("IDX file: not unsigned bytes; expected the header 00 00 08")
    axes = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=axes, offset=4).astype(int)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)


def _content(name: str, source: str | os.PathLike[str] | None) -> bytes:
    """Return the unpacked content of the IDX file, after a check of its sha256."""
    folder = Path(source) if source is not None else Path(DEBIAN)
    idx_file = next((file for file in (folder / f"{name}.gz", folder / name) if file.is_file()), None)
    if idx_file is None and source is not None:
        raise DataError(f"{folder}: no {name}.gz; give the folder that holds the four files of Fashion-MNIST")
    where = str(idx_file) if idx_file else f"{URL}{name}.gz"
    data = idx_file.read_bytes() if idx_file else _download(where)
    try:
        content = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where}: damaged gzip file ({error}); fetch it again") from None
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise DataError(f"{where}: the content is not the published {name} (sha256 differs); fetch it again")
    return content


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            data: bytes = answer.read()
            return data
    except OSError as error:
        raise DataError(
            f"{url}: cannot be fetched ({error}); install Debian's dataset-fashion-mnist or give the files' folder"
        ) from None
