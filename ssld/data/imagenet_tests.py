"""Write val_list.txt and its scoring for more test sets of ImageNet's 1,000 classes, from their usual folders.

Labels are ranks of WordNet ids, as for ImageNet; the ids are read from `classes.txt` of a prepared one. DataError is
raised for a source that is missing or not as published; `allow_partial` accepts other numbers of classes and images.
"""

from __future__ import annotations

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

from ssld.data.folder import source_folder
from ssld.data.imagenet import CLASSES, SUFFIX, VAL_IMAGES, expect, labelled_folders, prepared_folder, wordnet_ids
from ssld.data.lists import read_list
from ssld.data.scoring import scoring_file
from ssld.data.target import Prepared, Progress, Target
from ssld.data.tree import LeftOut, images_under, sub_folders
from ssld.errors import DataError, some

Where = str | os.PathLike[str]
LIST = "val_list.txt"
CORRUPTIONS = (  # the fifteen of arXiv:1903.12261, in its order
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow",
    "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})")


def version_2(out: Where, progress: Progress, source: Where = "", allow_partial: bool = False) -> Prepared:
    """Prepare one variant of ImageNet-V2: folders 0 to 999, named by label, 10 images each.

    Source: B. Recht et al., arXiv:1902.10811.
    """
    root = source_folder(source, "imagenet_v2")
    target = Target("imagenet_v2", out, {"source": str(root), "allow_partial": allow_partial}, root)
    names = sub_folders(root)
    label_names = {str(label) for label in range(CLASSES)}
    if strange := [str(root / name) for name in names if name not in label_names]:
        raise DataError(f"{some(strange)}: no label; give the folder of one variant, with folders 0 to 999")
    expect(root, "classes", len(names), CLASSES, allow_partial, "ImageNet-V2")
    left_out, lines = LeftOut(root), []
    for label in sorted(map(int, names)):  # as text, 10 would come before 2
        lines += [(path, label) for path in images_under(root / str(label), left_out, SUFFIX)]
        progress(label + 1, CLASSES)
    left_out.refuse_faults()
    expect(root, "images", len(lines), 10_000, allow_partial, "ImageNet-V2")
    return _finish(target, lines, [str(label) for label in range(CLASSES)])


def _folders(
    kind: str,
    name: str,
    classes: int,
    images: int,
    out: Where,
    progress: Progress,
    source: Where = "",
    imagenet: Where | None = None,
    allow_partial: bool = False,
) -> Prepared:
    """Prepare folders that are named by WordNet id.

    Where they are not the folders of all classes, their classes alone compete.
    """
    root = source_folder(source, kind)
    target = Target(kind, out, _options(root, imagenet, allow_partial), root)
    wnids = wordnet_ids(prepared_folder(imagenet))
    lines = labelled_folders(root, root, wnids)
    present = sorted({label for _, label in lines})
    expect(root, "classes", len(present), classes, allow_partial, name)
    expect(root, "images", len(lines), images, allow_partial, name)
    progress(len(lines), len(lines))
    return _finish(target, lines, wnids, {"classes": present} if classes < CLASSES else None)


adversarial = partial(_folders, "imagenet_a", "ImageNet-A", 200, 7_500)  # D. Hendrycks et al., arXiv:1907.07174
renditions = partial(_folders, "imagenet_r", "ImageNet-R", 200, 30_000)  # D. Hendrycks et al., arXiv:2006.16241
# 50,889 are in the archive; the paper speaks of 50 a class. H. Wang et al., arXiv:1905.13549
sketches = partial(_folders, "imagenet_sketch", "ImageNet-Sketch", CLASSES, 50_889)


def corrupted(
    out: Where, progress: Progress, source: Where = "", imagenet: Where | None = None, allow_partial: bool = False
) -> Prepared:
    """Prepare ImageNet-C: <corruption>/<severity 1..5>/<wnid>, 50,000 images each (arXiv:1903.12261).

    The other corruptions that were published with it are not read.
    """
    root = source_folder(source, "imagenet_c")
    target = Target("imagenet_c", out, _options(root, imagenet, allow_partial), root)
    wnids, lines, scoring = wordnet_ids(prepared_folder(imagenet)), [], []
    pairs = [(corruption, severity) for corruption in CORRUPTIONS for severity in range(1, 6)]
    folder_pairs = [
        (corruption, severity) for corruption, severity in pairs if (root / corruption / str(severity)).is_dir()
    ]
    if not folder_pairs or (len(folder_pairs) < len(pairs) and not allow_partial):
        corruption, severity = next(pair for pair in pairs if pair not in folder_pairs)
        raise DataError(
            f"{root}: no folder {corruption}/{severity}, ImageNet-C has {len(pairs)} <corruption>/<severity>; "
            f"complete them or allow a part (--allow-partial)"
        )
    for number, (corruption, severity) in enumerate(folder_pairs, 1):
        folder = root / corruption / str(severity)
        images = labelled_folders(folder, root, wnids)
        expect(folder, "images", len(images), VAL_IMAGES, allow_partial, "ImageNet-C")
        lines += images
        scoring.append((corruption, severity, len(images)))
        progress(number, len(folder_pairs))
    return _finish(target, lines, wnids, {"corruptions": scoring})


def reassessed(
    out: Where, progress: Progress, source: Where = "", imagenet: Where | None = None, allow_partial: bool = False
) -> Prepared:
    """Prepare ReaL: `source` is real.json, or its folder; the images are those of the prepared ImageNet's val_list.txt.

    An image may have several valid labels; one that has none is left out. Source: L. Beyer et al., arXiv:2006.07159.
    """
    if not source:
        raise DataError("data prepare imagenet_real: no source given; name the file real.json")
    file = Path(source) / "real.json" if os.path.isdir(source) else Path(source)
    valid, folder = _valid_labels(file), prepared_folder(imagenet)
    wnids = wordnet_ids(folder)
    target = Target("imagenet_real", out, _options(file.resolve(), imagenet, allow_partial))
    files = read_list(folder / LIST, folder, CLASSES)
    expect(folder / LIST, "images", len(files), VAL_IMAGES, allow_partial)
    labels = [(os.path.abspath(files.path(i)), valid[_number(files.path(i))]) for i in range(len(files))]
    scored = [(path, valid_of_image) for path, valid_of_image in labels if valid_of_image]
    if not scored:
        raise DataError(f"{folder / LIST}: no image of it has a valid label in {file}; prepare the whole ImageNet")
    progress(len(labels), len(labels))
    scoring = {"valid": [valid_of_image for _, valid_of_image in scored]}
    return _finish(target, [(path, valid_of_image[0]) for path, valid_of_image in scored], wnids, scoring)


def _valid_labels(file: Path) -> list[list[int]]:
    """Return the labels of ILSVRC2012_val_00000001 to 00050000."""
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise DataError(f"{file}: cannot be read ({reason}); give real.json as it was published") from None
    if not isinstance(entries, list) or len(entries) != VAL_IMAGES:
        count = f"{len(entries):,} entries" if isinstance(entries, list) else "no list"
        raise DataError(f"{file}: {count}, ReaL has one of each of {VAL_IMAGES:,} images; give real.json as published")
    for number, labels in enumerate(entries, 1):
        if not isinstance(labels, list) or not all(type(c) is int and 0 <= c < CLASSES for c in labels):
            raise DataError(
                f"{file}: entry {number} is no list of labels 0..{CLASSES - 1}; give real.json as published"
            )
    return entries


def _number(path: str) -> int:
    """Return the place of a validation image in ReaL's list, from its published name."""
    match = VAL_NAME.fullmatch(Path(path).stem)
    if not match or not 1 <= int(match[1]) <= VAL_IMAGES:
        raise DataError(
            f"{path}: ReaL goes by the names ILSVRC2012_val_00000001 to _00050000; keep the published names"
        )
    return int(match[1]) - 1


def _options(source: Path, imagenet: Where | None, allow_partial: bool) -> dict[str, Any]:
    folder = str(prepared_folder(imagenet).resolve())
    return {"source": str(source), "imagenet": folder, "allow_partial": allow_partial}


def _finish(
    target: Target, lines: list[tuple[str, int]], classes: list[str], scoring: dict[str, Any] | None = None
) -> Prepared:
    """Write the scoring, then the rest: a list without its scoring would be scored as any other."""
    if scoring:
        target.save(scoring_file(Path(LIST)).name, (json.dumps(scoring) + "\n").encode())
    target.save_list(LIST, [path for path, _ in lines], [label for _, label in lines])
    return target.finish(classes)
