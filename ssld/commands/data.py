"""Write a data set as image files and list files, or check the images of a list: `ssld data`."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from ssld.data import FileList, check, prepare, read_list
from ssld.data.doubles import doubles, equal_files
from ssld.data.lists import CLASSES, list_text, read_names
from ssld.data.scoring import scoring_file
from ssld.data.target import Prepared
from ssld.errors import DataError, some
from ssld.files import write_whole
from ssld.paths import data_root
from ssld.progress import note, progress
from ssld.spec.colours import Colour, colour_option


class PreparedFolder(Prepared):
    """Describe what was prepared, and the folder that holds it."""

    folder: str


class CheckedList(TypedDict):
    """Describe a list file: how many images there are, and how many of them have a label and cannot be read.

    transparent: images with transparent pixels; flat: those of one flat colour; doubles: those with the bytes of an
    earlier one; shared: those with the bytes of an image of the other list, null without one. clean: the list of the
    images that can be read, null where none is written.
    """

    list: str
    images: int
    labelled: int
    unreadable: int
    transparent: int
    flat: int
    doubles: int
    shared: int | None
    clean: str | None


def data(
    *,
    action: Literal["prepare", "check"],
    what: str,
    source: str | None,
    fonts: Sequence[str] | None,
    out: str | None,
    val_share: float | None,
    allow_partial: bool,
    imagenet: str | None,
    ground_truth: str | None,
    labelled: int | None,
    seed: int | None,
    class_list: str | None,
    classes: int | None,
    root: str | None,
    against: str | None,
    background: str,
    threads: int,
    quiet: bool,
) -> PreparedFolder | CheckedList:
    """Prepare the data set `what`, or check the list file `what`.

    Prepare: write the images and list files of a kind of data set under `out` (by default in the data folder), with the
    options that the kind takes; a data set that is already there stays as it is. Check: decode every image of a list,
    in `threads` threads, transparent pixels on the colour `background`, and look for images with equal bytes, in the
    list and in the list `against`; write the list `out` of the images that can be read; `quiet` hides the progress.
    Each action leaves the options of the other aside. It raises DataError for an unknown kind, an option that the kind
    does not take, a source that is not as expected, and, without `out`, for images that cannot be read, each of which
    is named in a line on standard error; UsageError for no colour.
    """
    if action == "check":
        colour = colour_option("--background", background)
        other, clean = (Path(path) if path else None for path in (against, out))
        return _check(Path(what), classes, root, other, clean, colour, threads, quiet)
    options: dict[str, Any] = {
        "source": source,
        "fonts": fonts,
        "ground_truth": ground_truth,
        "imagenet": imagenet,
        "labelled": labelled,
        "val_share": val_share,
        "seed": seed,
        "class_list": class_list,
        "allow_partial": allow_partial or None,
    }
    changes = {name: value for name, value in options.items() if value is not None}
    return _prepare(what, Path(out) if out else data_root() / what, changes)


def _prepare(kind: str, out: Path, options: dict[str, Any]) -> PreparedFolder:
    """Write a data set as image files and list files; say so when it already exists."""
    with progress(0, f"prepare {kind}") as bar:
        prepared = prepare(kind, out, progress=bar.count, **options)
    for remark in prepared.get("remarks", ()):
        note(remark)
    return {"folder": str(out), **prepared}


def _check(
    file: Path,
    classes: int | None,
    root: str | None,
    against: Path | None,
    clean: Path | None,
    background: Colour,
    threads: int,
    quiet: bool,
) -> CheckedList:
    """Decode every image of a list.

    Each that cannot be read gives a line on standard error; after them it raises DataError, or writes the list `clean`
    of the others.
    """
    files = read_list(file, root or file.parent, classes)
    if clean:
        _check_target(clean, file)
    other_list = read_list(against, against.parent) if against else None
    with progress(len(files), "check", quiet=quiet) as bar:
        report = check(files, threads=threads, progress=bar.count, background=background)
    for path, reason in report.bad:
        note(f"{path}: {reason}")
    paths = [files.path(i) for i in range(len(files))]
    equal = doubles(paths)
    shared = None if other_list is None else equal_files(paths, [other_list.path(i) for i in range(len(other_list))])
    _tell("of one flat colour", report.flat)
    _tell("with the bytes of an earlier one", [f"{file_path} = {earlier}" for file_path, earlier in equal])
    _tell(
        f"with the bytes of one of {against}", [f"{file_path} = {other_path}" for file_path, other_path in shared or ()]
    )
    for remark in _sizes(files, classes, read_names(file.parent / CLASSES)):
        note(remark)
    if report.bad and not clean:
        what = f"{len(report.bad)} of {len(files)} images cannot be read"
        raise DataError(f"{file}: {what}; remove them from the list, or let --out FILE write a list without them")
    if clean:
        _write_clean(clean, file, files, {path for path, _ in report.bad})
    return {
        "list": str(file),
        "images": len(files),
        "labelled": int((files.labels >= 0).sum()),
        "unreadable": len(report.bad),
        "transparent": report.transparent,
        "flat": report.flat_images,
        "doubles": len(equal),
        "shared": None if shared is None else len(shared),
        "clean": str(clean) if clean else None,
    }


def _check_target(clean: Path, file: Path) -> None:
    """Raise DataError, before the images are decoded, where the list of the readable ones cannot be written."""
    if clean.exists():
        raise DataError(f"{clean}: is there already; give another --out, for no file is overwritten")
    if not clean.absolute().parent.is_dir():
        raise DataError(f"{clean}: there is no such folder; make it first")
    if scoring_file(file).exists():
        what = f"{scoring_file(file).name} beside it says of each image how it is scored"
        raise DataError(f"{file}: {what}; prepare the set anew from images that can be read")
    own, there = (read_names(path.parent / CLASSES) for path in (file, clean))
    if there is not None and own != there:
        raise DataError(f"{clean.parent / CLASSES}: names other classes than the one beside {file}; give another --out")


def _write_clean(clean: Path, file: Path, files: FileList, bad: set[str]) -> None:
    """Write the list of the images that are not `bad`, and the classes.txt beside it where the old list has one.

    Paths stay as they are where they start from the folder of the new list; others become absolute. Raises DataError
    where no image is left.
    """
    kept = [number for number in range(len(files)) if files.path(number) not in bad]
    if not kept:
        raise DataError(f"{file}: no image of it can be read; nothing was written")
    in_place = clean.absolute().parent.samefile(files.root)
    paths = [files.paths[number] if in_place else os.path.abspath(files.path(number)) for number in kept]
    write_whole(clean, list_text(paths, files.labels[kept].tolist()), "surrogateescape")
    names, target = file.parent / CLASSES, clean.absolute().parent / CLASSES
    if names.is_file() and not target.exists():
        shutil.copyfile(names, target)


def _tell(what: str, images: list[str]) -> None:
    """Print a line with the first images of a kind, where there are any."""
    if images:
        note(f"{len(images)} images {what}: {some(images)}")


def _sizes(files: FileList, classes: int | None, names: list[str] | None) -> list[str]:
    """Name classes without an image and of one image, as far as the number of classes is known."""
    count = classes or len(names or ())
    counts = np.bincount(files.labels[files.labels >= 0], minlength=count)
    remarks = []
    for number, what in ((0, "without an image"), (1, "of one image")):
        labels = np.flatnonzero(counts == number).tolist() if counts.any() else []
        if labels:
            named = [names[label] if names and label < len(names) else str(label) for label in labels]
            remarks.append(f"{len(named)} classes {what}: {some(named)}")
    return remarks
