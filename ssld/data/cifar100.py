"""Prepare CIFAR-100: 50,000 + 10,000 colour images of 32 x 32 pixels in a hundred classes.

Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009; the version for Python of its page.
Its files are pickles, which are read without running what they hold.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssld.data.digits import png, save_parts
from ssld.data.split import take_per_class
from ssld.data.target import Prepared, Progress, Target
from ssld.errors import DataError, WeightsError
from ssld.unpickle import unpickle

LABELLED = 50  # of each class, unless the caller asks for another number
EACH, DEV = 500, 50  # training images of a class, and how many of these are for choices
MOST = 200_000_000  # bytes of a file; the largest one has 155,249,918
ARCHIVE, FOLDER = "cifar-100-python.tar.gz", "cifar-100-python"
# Public repositories hold their copies to these, beside the md5 that the page of the data set gives for the archive.
# How they are packed does not count; the published archive has the sha256
# 85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7.
SHA256 = {
    "train": "735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b",
    "test": "4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864",
    "meta": "a5d4786345c961390f865e93b434dbd5c6904ce880667e0cb888c97d449f28b9",
}


def prepare(
    out: str | os.PathLike[str], progress: Progress, source: str | os.PathLike[str] | None = None,
    labelled: int = LABELLED,
) -> Prepared:  # fmt: skip
    """Write PNG files and the lists train_labelled, train_unlabelled, train_all, val and test.

    source: the published archive, or the folder that it holds. test: the 10,000 published test images. val: 50 training
    images of each class, the same for any number of labels; train_all: the other 45,000; of these each class keeps
    `labelled` labels (50: 5,000 images). The split is stratified, with seed 0. Published results train on all 50,000:
    on train_all and val. It raises DataError for a missing source, and for files whose sha256 is not the pinned one.
    """
    return prepare_pinned(out, progress, source, labelled, SHA256, EACH)


def prepare_pinned(
    out: str | os.PathLike[str], progress: Progress, source: str | os.PathLike[str] | None, labelled: int,
    sha256: Mapping[str, str], each: int,
) -> Prepared:  # fmt: skip
    """Do what `prepare` does with files that have other digests, and `each` training images of a class."""
    target = Target("cifar100", out, {"labelled": labelled})
    if not 1 <= labelled < each - DEV:
        raise DataError(
            f"data prepare cifar100: labelled {labelled} is out of range; give 1..{each - DEV - 1} of each class"
        )
    if data_set := target.done():
        return data_set
    files = _files(source, sha256)
    names = list(_read(files["meta"], "meta", "fine_label_names")[0])
    (images, labels), (test_images, test_labels) = (_part(files[part], part, len(names)) for part in ("train", "test"))
    paths = [f"train/{i:05d}.png" for i in range(len(images))] + [f"test/{i:05d}.png" for i in range(len(test_images))]
    for number, (path, image) in enumerate(zip(paths, (*images, *test_images), strict=True), start=1):
        target.save(path, png(image))
        if number % 500 == 0:
            progress(number, len(paths))
    with_label, without_label, val = take_per_class(labels, [labelled, each - DEV - labelled], seed=0)
    save_parts(target, paths, labels, val=val, labelled=with_label, unlabelled=without_label)
    target.save_list("test.txt", paths[len(labels) :], test_labels.tolist())
    return target.finish(names)


def _files(source: str | os.PathLike[str] | None, sha256: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of the files, each of which has the sha256 that is wanted."""
    if source is None:
        raise DataError(
            f"data prepare cifar100: no source given; fetch {ARCHIVE} and name it, or its folder (--source)"
        )
    place = Path(source)
    if place.is_dir():
        folder = place / FOLDER if (place / FOLDER).is_dir() else place
        try:
            files = {name: (folder / name).read_bytes() for name in sha256 if (folder / name).is_file()}
        except OSError as error:
            raise DataError(f"{folder}: cannot be read ({error.strerror}); check who may read its files") from None
    elif place.is_file():
        files = _of_archive(place, sha256)
    else:
        raise DataError(f"{source}: no such file or folder; give {ARCHIVE}, or the folder that it holds")
    for name, wanted in sha256.items():
        if name not in files:
            raise DataError(f"{source}: has no file {name!r}; give {ARCHIVE}, or the folder that it holds")
        if hashlib.sha256(files[name]).hexdigest() != wanted:
            raise DataError(f"{source}: {name!r} is not the published file (sha256 differs); fetch {ARCHIVE} again")
    return files


def _of_archive(file: Path, names: Mapping[str, str]) -> dict[str, bytes]:
    """Return the content of those files of an archive that have these names in the folder of the published one."""
    files = {}
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                name = member.name.removeprefix(f"{FOLDER}/")
                stream = archive.extractfile(member) if name in names and 0 <= member.size <= MOST else None
                if stream:
                    files[name] = stream.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read as an archive ({error}); fetch {ARCHIVE} again") from None
    return files


def _read(content: bytes, name: str, *keys: str) -> list[Any]:
    """Return what a pickled dictionary has under these keys. It raises DataError for another pickle."""
    try:
        tree = unpickle(content)
        return [tree[key] for key in keys]
    except WeightsError as error:
        raise DataError(f"{name}: {error}") from None
    except (ValueError, TypeError, LookupError, OverflowError, MemoryError) as error:
        raise DataError(f"{name}: no pickle of CIFAR-100 ({error}); fetch {ARCHIVE} again") from None


def _part(content: bytes, name: str, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images, uint8 [n, 32, 32, 3], and labels [n]. It raises DataError for another pickle."""
    data, labels = _read(content, name, "data", "fine_labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape != (len(labels), 3 * 32 * 32):
        raise DataError(f"{name}: its pixels are not those of {len(labels)} images of 32 x 32; fetch {ARCHIVE} again")
    numbers = np.array(labels, dtype=np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < classes:
        raise DataError(f"{name}: has labels that are not below {classes}; fetch {ARCHIVE} again")
    return data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), numbers
