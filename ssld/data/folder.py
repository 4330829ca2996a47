"""Write train and val lists for a folder with one sub-folder for each class; the images stay where they are."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ssld.data.doubles import equal_files
from ssld.data.lists import read_names
from ssld.data.sampler import epoch_order
from ssld.data.target import Prepared, Progress, Target
from ssld.data.tree import LeftOut, images_under, sub_folders
from ssld.errors import DataError, some

Lines = list[tuple[str, int]]


def prepare(
    out: str | os.PathLike[str],
    progress: Progress,
    source: str | os.PathLike[str] = "",
    val_share: float = 0.1,
    seed: int = 0,
    class_list: str | os.PathLike[str] = "",
) -> Prepared:
    """Write train.txt, val.txt and classes.txt; the images stay in `source`.

    A label is the rank of the sub-folder's name. Of each class the share `val_share` (rounded, but at least one image
    on each side) goes to val.txt, drawn with `seed`; with 0 there is no val.txt. `class_list`: a classes.txt that gives
    the labels instead; a class of it may have no images then, and every sub-folder must be in it. It raises DataError
    for a missing source, classes with too few images and a share out of range. `remarks` speaks of files that are left
    out, names that differ by case alone, classes of one image, and images of val.txt that are equal to one of
    train.txt.
    """
    root = source_folder(source, "folder")
    if not 0 <= val_share < 1:
        raise DataError(f"data prepare folder: val_share {val_share} is out of range; give 0 <= val_share < 1")
    options = {"source": str(root), "val_share": val_share, "seed": seed}
    target = Target("folder", out, options | ({"class_list": str(class_list)} if class_list else {}), root)
    folders = sub_folders(root, target.left_out)
    classes = _classes(folders, class_list, root) if class_list else folders
    _leave_out_files(root, target.left_out)
    images: dict[str, list[str]] = {}
    for number, name in enumerate(folders, start=1):
        images[name] = images_under(root / name, target.left_out)
        progress(number, len(folders))
    _check_sizes(images, 2 if val_share else 1, root)
    train, val = _split(images, {name: label for label, name in enumerate(classes)}, val_share, seed)
    for file, lines in (("train.txt", train), ("val.txt", val)):
        if lines:
            target.save_list(file, [path for path, _ in lines], [label for _, label in lines])
    target.remarks += _remarks(root, images, [path for path, _ in train], [path for path, _ in val])
    return target.finish(classes)


def source_folder(source: str | os.PathLike[str], kind: str) -> Path:
    """Return the absolute source folder. It raises DataError when none is given, or when it does not exist."""
    if not source:
        raise DataError(f"data prepare {kind}: no source given; name the folder of the images")
    if not os.path.isdir(source):
        raise DataError(f"{source}: no such folder; give the folder of the images")
    return Path(source).resolve()


def _classes(folders: list[str], file: str | os.PathLike[str], root: Path) -> list[str]:
    names = read_names(Path(file))
    if names is None:
        raise DataError(f"{file}: no such file; give the classes.txt of the training set")
    if strange := sorted(set(folders) - set(names)):
        these = "this name; rename or remove this folder" if len(strange) == 1 else "these names; rename or remove them"
        raise DataError(f"{some([str(root / name) for name in strange])}: no class of {file} has {these}")
    return names


def _leave_out_files(root: Path, left_out: LeftOut) -> None:
    """Leave out the files beside the class folders: none of them has a class."""
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if not entry.is_dir():
            left_out.entry(entry, "outside the folders of the classes")


def _check_sizes(images: dict[str, list[str]], least: int, root: Path) -> None:
    few = [f"{name}: {len(paths)}" for name, paths in images.items() if len(paths) < least]
    if few:
        raise DataError(
            f"{root}: too few images for a class, which needs {least}: {some(few)}; add images or remove these folders"
        )


def _split(images: dict[str, list[str]], labels: dict[str, int], val_share: float, seed: int) -> tuple[Lines, Lines]:
    train: Lines = []
    val: Lines = []
    for name, paths in images.items():
        label = labels[name]
        count = min(max(1, round(len(paths) * val_share)), len(paths) - 1) if val_share else 0
        val_positions = set(epoch_order(seed, label, len(paths))[:count].tolist())
        for i, path in enumerate(paths):
            (val if i in val_positions else train).append((path, label))
    return train, val


def _remarks(root: Path, images: dict[str, list[str]], train: list[str], val: list[str]) -> list[str]:
    """Say what is not wrong, but probably not meant either."""
    remarks = []
    if alike := _case_doubles(images):
        remarks.append(f"classes whose names differ by case alone: {some(alike)}; are they one class?")
    if alike := _case_doubles(path for paths in images.values() for path in paths):
        remarks.append(f"images whose names differ by case alone: {some(alike)}")
    if single := [name for name, paths in images.items() if len(paths) == 1]:
        remarks.append(f"classes of one image: {some(single)}")
    pairs = equal_files([str(root / path) for path in val], [str(root / path) for path in train])
    if pairs:
        shown = [f"{os.path.relpath(one, root)} = {os.path.relpath(other, root)}" for one, other in pairs]
        remarks.append(
            f"val.txt: {len(pairs)} of {len(val)} images have the bytes of a training image: {some(shown)}; accuracy "
            f"on them says nothing, remove one of each pair"
        )
    return remarks


def _case_doubles(names: Iterable[str]) -> list[str]:
    """Return `a = A` for names that are one on a disk that knows no case, or that has another form of Unicode."""
    first_name: dict[str, str] = {}
    pairs = []
    for name in names:
        first = first_name.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if first != name:
            pairs.append(f"{first} = {name}")
    return pairs
