"""Turn ImageNet-1k (ILSVRC 2012) in its usual folder, train/<wnid>/*.JPEG and val, into `path label` lists.

The label is the rank of the class's WordNet id among the thousand, as all published networks have it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ssld.data.folder import source_folder
from ssld.data.target import Prepared, Progress, Target
from ssld.data.tree import LeftOut, hidden, images_under, sub_folders
from ssld.errors import DataError, some
from ssld.paths import data_root

TRAIN_IMAGES, VAL_IMAGES, CLASSES = 1_281_167, 50_000, 1000  # O. Russakovsky et al., arXiv:1409.0575, table 2
WNID = re.compile(r"n\d{8}")
SUFFIX = (".jpeg", ".jpg", ".png")  # a few of the originals are PNG under the name .JPEG; other copies rename them


def prepare(
    out: str | os.PathLike[str], progress: Progress, source: str | os.PathLike[str] = "",
    ground_truth: str | os.PathLike[str] | None = None, allow_partial: bool = False,
) -> Prepared:  # fmt: skip
    """Write train_list.txt, val_list.txt and classes.txt (WordNet ids); the images stay in `source`.

    Where val is one flat folder, `ground_truth` is a list of lines `name wnid` or `name label` (rank of the wnid). It
    raises DataError for counts that differ from 1,000 classes and 1,281,167 / 50,000 images, unless `allow_partial`,
    for an empty file, and for a val image without a ground truth.
    """
    root = source_folder(source, "imagenet")
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise DataError(f"{root}: no folder {part!r}; expected train/<wnid>/*.JPEG and val")
    options = {"source": str(root), "ground_truth": str(ground_truth or ""), "allow_partial": allow_partial}
    target = Target("imagenet", out, options, root)
    wnids = sub_folders(root / "train")
    expect(root / "train", "classes", len(wnids), CLASSES, allow_partial)
    train = _by_folder(root, "train", wnids, progress)
    expect(root / "train", "images", len(train), TRAIN_IMAGES, allow_partial)
    val = _val(root, wnids, ground_truth, progress)
    expect(root / "val", "images", len(val), VAL_IMAGES, allow_partial)
    for name, lines in (("train_list.txt", train), ("val_list.txt", val)):
        target.save_list(name, [path for path, _ in lines], [label for _, label in lines])
    return target.finish(wnids)


def expect(where: Path, what: str, found: int, expected: int, allow_partial: bool, name: str = "ImageNet") -> None:
    """Raise DataError for a number that is 0, or not the one that `name` was published with.

    With `allow_partial` any number but 0 passes.
    """
    if found == 0 or (found != expected and not allow_partial):
        raise DataError(
            f"{where}: {found:,} {what}, {name} has {expected:,}; complete the folder or allow a partial one "
            f"(--allow-partial)"
        )


def prepared_folder(given: str | os.PathLike[str] | None) -> Path:
    """Return the folder that `ssld data prepare imagenet` wrote: the given one, else that in the data folder."""
    return Path(given) if given else data_root() / "imagenet"


def wordnet_ids(folder: Path) -> list[str]:
    """Return the 1,000 WordNet ids in the order of the labels, from a prepared ImageNet.

    It raises DataError without them.
    """
    file = folder / "classes.txt"
    if not file.is_file():
        raise DataError(
            f"{file}: no such file, and labels are ranks among ImageNet's 1,000 WordNet ids; name the folder that "
            f"`ssld data prepare imagenet` wrote (--imagenet)"
        )
    wnids = file.read_text(encoding="utf-8", errors="replace").split()
    if len(wnids) != CLASSES or wnids != sorted(set(wnids)) or not all(WNID.fullmatch(wnid) for wnid in wnids):
        raise DataError(f"{file}: is not the sorted list of ImageNet's 1,000 WordNet ids; prepare the whole ImageNet")
    return wnids


def labelled_folders(folder: Path, root: Path, wnids: list[str]) -> list[tuple[str, int]]:
    """Return (path relative to `root`, label) of the images in a folder of folders that are named by WordNet id.

    It raises DataError for a folder of another name, and for one without images.
    """
    label, left_out = {wnid: rank for rank, wnid in enumerate(wnids)}, LeftOut(root)
    names = sub_folders(folder)
    if strange := [str(folder / name) for name in names if name not in label]:
        raise DataError(f"{some(strange)}: not named by a WordNet id of ImageNet's classes; give their folder")
    paths = {name: images_under(folder / name, left_out, SUFFIX) for name in names}
    left_out.refuse_faults()
    if empty := [str(folder / name) for name in names if not paths[name]]:
        raise DataError(f"{some(empty)}: no images; complete these folders or remove them")
    return [(path, label[name]) for name in names for path in paths[name]]


def _by_folder(root: Path, part: str, wnids: list[str], progress: Progress) -> list[tuple[str, int]]:
    left_out, lines = LeftOut(root), []
    for label, wnid in enumerate(wnids):
        if (root / part / wnid).is_dir():  # a partial val may lack a class; the counts say so
            lines += [(path, label) for path in images_under(root / part / wnid, left_out, SUFFIX)]
        progress(label + 1, len(wnids))
    left_out.refuse_faults()
    return lines


def _val(
    root: Path, wnids: list[str], ground_truth: str | os.PathLike[str] | None, progress: Progress
) -> list[tuple[str, int]]:
    folders = sorted(entry.name for entry in os.scandir(root / "val") if entry.is_dir() and not hidden(entry.name))
    if folders:
        if strange := [str(root / "val" / name) for name in folders if name not in set(wnids)]:
            raise DataError(f"{some(strange)}: no class of this name in train; the folders must agree")
        return _by_folder(root, "val", wnids, progress)
    if ground_truth is None:
        raise DataError(f"{root / 'val'}: one flat folder; give a ground truth, a list of lines `name wnid`")
    truth = _truth(Path(ground_truth), wnids)
    left_out = LeftOut(root)
    paths = images_under(root / "val", left_out, SUFFIX)
    left_out.refuse_faults()
    if unknown := [str(root / path) for path in paths if Path(path).stem not in truth]:
        raise DataError(f"{some(unknown)}: not in the ground truth {ground_truth}; give the list of these images")
    return [(path, truth[Path(path).stem]) for path in paths]


def _truth(file: Path, wnids: list[str]) -> dict[str, int]:
    """Read a ground truth: stem of the image's name -> label."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: the ground truth cannot be read ({error.strerror}); check the path") from None
    rank, truth = {wnid: label for label, wnid in enumerate(wnids)}, {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:  # the development kit's bare numbers follow another order of the classes
            raise DataError(f"{file}:{number}: bad line {line[:80]!r}; a line is `name wnid` or `name label`")
        label = int(words[1]) if words[1].isdecimal() else rank.get(words[1], -1)
        if not 0 <= label < len(wnids):
            raise DataError(f"{file}:{number}: no class {words[1]!r} in train; give a wnid or 0..{len(wnids) - 1}")
        truth[Path(words[0]).stem] = label
    return truth
