"""What a list's labels do not say of its evaluation: a JSON file beside the list, as val_list.scoring.json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssld.data.lists import FileList
from ssld.errors import DataError

KEYS = ("classes", "valid", "corruptions")


@dataclass(frozen=True)
class Scoring:
    """How the images of a list are scored; without any of these, by their labels among all classes.

    classes: int64 [k], ascending, the only classes that compete; valid: for each image the labels that count as right,
    one or more; corruptions: (corruption, severity, number of images) of consecutive lines, which are scored apart.
    """

    classes: np.ndarray | None = None
    valid: list[list[int]] | None = None
    corruptions: list[tuple[str, int, int]] | None = None

    @property
    def plain(self) -> bool:
        """Whether the labels say it all."""
        return self.classes is None and self.valid is None and self.corruptions is None

    @property
    def cropped(self) -> bool:
        """Whether the images are centre crops already: those of ImageNet-C are published so."""
        return self.corruptions is not None

    def parts(self, images: int) -> Iterator[np.ndarray]:
        """The positions, int64, of the images that are asked together."""
        sizes = [images] if self.corruptions is None else [size for _, _, size in self.corruptions]
        begin = 0
        for size in sizes:
            yield np.arange(begin, begin + size)
            begin += size


def scoring_file(listed: Path) -> Path:
    """Where the scoring of a list file stands."""
    return listed.with_suffix(".scoring.json")


def read_scoring(listed: Path, files: FileList, classes: int) -> Scoring:
    """The scoring beside a list of labelled images, for a network of so many classes.

    Raises DataError for a file that is none, and one that does not fit the list or the network.
    """
    file = scoring_file(listed)
    if not file.is_file():
        return Scoring()
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(held, dict) or not set(held) <= set(KEYS):
            raise ValueError(f"its keys are not among {', '.join(KEYS)}")
        found = Scoring(
            classes=np.array([_label(c, classes) for c in held["classes"]], "int64") if "classes" in held else None,
            valid=[[_label(c, classes) for c in labels] for labels in held["valid"]] if "valid" in held else None,
            corruptions=[(str(name), int(severity), int(images)) for name, severity, images in held["corruptions"]]
            if "corruptions" in held
            else None,
        )
        _check(found, files)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: does not fit {listed.name} ({error}); prepare the data set again") from None
    return found


def refuse_scoring(listed: Path) -> None:
    """DataError for a list whose labels alone do not say how it is scored."""
    if scoring_file(listed).is_file():
        raise DataError(
            f"{listed}: {scoring_file(listed).name} says how to score it, as only `ssld eval` does; give another list"
        )


def _label(value: Any, classes: int) -> int:
    if type(value) is not int or not 0 <= value < classes:
        raise ValueError(f"{value!r} is no label; the network has {classes} classes")
    return value


def _check(found: Scoring, files: FileList) -> None:
    if found.classes is not None and found.valid is not None:
        raise ValueError("classes and valid exclude each other")
    if found.classes is not None:
        if (np.diff(found.classes) <= 0).any():
            raise ValueError("classes are not ascending")
        if strange := set(files.labels.tolist()) - set(found.classes.tolist()):
            raise ValueError(f"label {min(strange)} is not among its classes")
    if found.valid is not None and (len(found.valid) != len(files) or not all(found.valid)):
        raise ValueError(f"it has labels of {sum(map(bool, found.valid))} images, the list has {len(files)}")
    if found.corruptions is not None:
        sizes = [size for _, _, size in found.corruptions]
        if min(sizes, default=0) < 1 or sum(sizes) != len(files):
            raise ValueError(f"it counts {sum(sizes)} images, the list has {len(files)}")
