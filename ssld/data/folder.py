"""A folder with one sub-folder a class: train and val lists for the images where they are."""

from __future__ import annotations

import os
from pathlib import Path

from ssld.data.lists import SUFFIXES
from ssld.data.sampler import epoch_order
from ssld.data.target import Prepared, Progress, Target
from ssld.errors import DataError


def prepare(
    out: str | os.PathLike[str],
    progress: Progress,
    source: str | os.PathLike[str] = "",
    val_share: float = 0.1,
    seed: int = 0,
) -> Prepared:
    """train.txt, val.txt and classes.txt; the label is the rank of the sub-folder's name, images stay in `source`.

    Of each class the share `val_share` (rounded, but at least one image on each side) goes to val.txt, drawn with
    `seed`; 0 means no val.txt. Raises DataError for a missing source, an empty class and a share out of range.
    """
    root = source_folder(source, "folder")
    if not 0 <= val_share < 1:
        raise DataError(f"data prepare folder: val_share {val_share} is out of range; give 0 <= val_share < 1")
    target = Target("folder", out, {"source": str(root), "val_share": val_share, "seed": seed}, root)
    classes = sub_folders(root)
    train: list[tuple[str, int]] = []
    val: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        paths = images_under(root / name, root)
        if len(paths) < (2 if val_share else 1):
            raise DataError(f"{root / name}: {len(paths)} images are too few for this class; add images or remove it")
        count = min(max(1, round(len(paths) * val_share)), len(paths) - 1) if val_share else 0
        chosen = set(epoch_order(seed, label, len(paths))[:count].tolist())
        for i, path in enumerate(paths):
            (val if i in chosen else train).append((path, label))
        progress(label + 1, len(classes))
    for file, lines in (("train.txt", train), ("val.txt", val)):
        if lines:
            target.save_list(file, [path for path, _ in lines], [label for _, label in lines])
    return target.finish(classes)


def source_folder(source: str | os.PathLike[str], kind: str) -> Path:
    """The absolute source folder; DataError when it is not given or not there."""
    if not source:
        raise DataError(f"data prepare {kind}: no source given; name the folder of the images")
    if not os.path.isdir(source):
        raise DataError(f"{source}: no such folder; give the folder of the images")
    return Path(source).resolve()


def sub_folders(folder: Path) -> list[str]:
    """Names of the sub-folders, sorted, hidden ones left out; DataError when there is none."""
    names = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not e.name.startswith("."))
    if not names:
        raise DataError(f"{folder}: no sub-folders; expected one sub-folder a class")
    return names


def images_under(folder: Path, root: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Images anywhere under `folder`, sorted, as paths relative to `root`; DataError for an empty file."""
    found = []
    for here, folders, files in os.walk(folder):
        folders.sort()
        for name in files:
            if name.lower().endswith(suffixes) and not name.startswith("."):
                path = os.path.join(here, name)
                if not os.path.getsize(path):
                    raise DataError(f"{path}: the file is empty; delete it or fetch it again")
                found.append(path[len(str(root)) + 1 :])
    return sorted(found)
