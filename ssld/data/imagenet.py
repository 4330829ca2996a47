"""ImageNet-1k (ILSVRC 2012) from its usual folder: train/<wnid>/*.JPEG and val, to `path label` lists.

The label is the rank of the class's WordNet id among the thousand, as all published networks have it.
"""

from __future__ import annotations

import os
from pathlib import Path

from ssld.data.folder import images_under, source_folder, sub_folders
from ssld.data.target import Prepared, Progress, Target
from ssld.errors import DataError

TRAIN_IMAGES, VAL_IMAGES, CLASSES = 1_281_167, 50_000, 1000  # O. Russakovsky et al., arXiv:1409.0575, table 2
SUFFIX = (".jpeg", ".jpg", ".png")  # a few of the originals are PNG under the name .JPEG; other copies rename them


def prepare(
    out: str | os.PathLike[str], progress: Progress, source: str | os.PathLike[str] = "",
    ground_truth: str | os.PathLike[str] | None = None, allow_partial: bool = False,
) -> Prepared:  # fmt: skip
    """train_list.txt, val_list.txt and classes.txt (WordNet ids); the images stay in `source`.

    Where val is one flat folder, `ground_truth` is a list of lines `name wnid` or `name label` (rank of the wnid).
    Raises DataError for counts that differ from 1,000 classes and 1,281,167 / 50,000 images, unless `allow_partial`,
    for an empty file, and for a val image without a ground truth.
    """
    root = source_folder(source, "imagenet")
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise DataError(f"{root}: no folder {part!r}; expected train/<wnid>/*.JPEG and val")
    options = {"source": str(root), "ground_truth": str(ground_truth or ""), "allow_partial": allow_partial}
    target = Target("imagenet", out, options, root)
    wnids = sub_folders(root / "train")
    _expect(root / "train", "classes", len(wnids), CLASSES, allow_partial)
    train = _by_folder(root, "train", wnids, progress)
    _expect(root / "train", "images", len(train), TRAIN_IMAGES, allow_partial)
    val = _val(root, wnids, ground_truth, progress)
    _expect(root / "val", "images", len(val), VAL_IMAGES, allow_partial)
    for name, lines in (("train_list.txt", train), ("val_list.txt", val)):
        target.save_list(name, [path for path, _ in lines], [label for _, label in lines])
    return target.finish(wnids)


def _expect(where: Path, what: str, found: int, expected: int, allow_partial: bool) -> None:
    if found == 0 or (found != expected and not allow_partial):
        raise DataError(
            f"{where}: {found:,} {what}, ImageNet has {expected:,}; complete the folder or allow a partial one "
            f"(--allow-partial)"
        )


def _by_folder(root: Path, part: str, wnids: list[str], progress: Progress) -> list[tuple[str, int]]:
    lines = []
    for label, wnid in enumerate(wnids):
        if (root / part / wnid).is_dir():  # a partial val may lack a class; the counts say so
            lines += [(path, label) for path in images_under(root / part / wnid, root, SUFFIX)]
        progress(label + 1, len(wnids))
    return lines


def _val(
    root: Path, wnids: list[str], ground_truth: str | os.PathLike[str] | None, progress: Progress
) -> list[tuple[str, int]]:
    folders = sorted(entry.name for entry in os.scandir(root / "val") if entry.is_dir())
    if folders:
        strange = [name for name in folders if name not in set(wnids)]
        if strange:
            raise DataError(f"{root / 'val' / strange[0]}: no class of this name in train; the folders must agree")
        return _by_folder(root, "val", wnids, progress)
    if ground_truth is None:
        raise DataError(f"{root / 'val'}: one flat folder; give a ground truth, a list of lines `name wnid`")
    truth = _truth(Path(ground_truth), wnids)
    lines = []
    for path in images_under(root / "val", root, SUFFIX):
        stem = Path(path).stem
        if stem not in truth:
            raise DataError(f"{root / path}: not in the ground truth {ground_truth}; give the list of these images")
        lines.append((path, truth[stem]))
    return lines


def _truth(file: Path, wnids: list[str]) -> dict[str, int]:
    """Stem of the image's name -> label."""
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
