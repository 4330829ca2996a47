"""Read what a list's labels do not say of its evaluation: a JSON file beside the list, as val_list.scoring.json."""

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
    """Say how the images of a list are scored; without any of these, they are scored by their labels among all classes.

    classes: int64 [k], ascending, the only classes that compete; valid: for each image the labels that count as right,
    one or more; corruptions: (corruption, severity, number of images) of consecutive lines, which are scored apart.
    """

    classes: np.ndarray | None = None
    valid: list[list[int]] | None = None
    corruptions: list[tuple[str, int, int]] | None = None

    @property
    def plain(self) -> bool:
        """Say whether the labels alone decide how the images are scored."""
        return self.classes is None and self.valid is None and self.corruptions is None

    @property
    def cropped(self) -> bool:
        """Say whether the images are centre crops already: those of ImageNet-C are published so."""
        return self.corruptions is not None

    def parts(self, images: int) -> Iterator[np.ndarray]:
        """Return the positions, int64, of the images that are asked together."""
        sizes = [images] if self.corruptions is None else [size for _, _, size in self.corruptions]
        begin = 0
        for size in sizes:
            yield np.arange(begin, begin + size)
            begin += size


def scoring_file(listed: Path) -> Path:
    """Return the path of the scoring of a list file."""
    return listed.with_suffix(".scoring.json")


def read_scoring(listed: Path, files: FileList, classes: int) -> Scoring:
    """Return the scoring beside a list of labelled images, for a network of so many classes.

    It raises DataError for a file that is none, and one that does not fit the list or the network.
    """
    file = scoring_file(listed)
    if not file.is_file():
        return Scoring()
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not set(facts) <= set(KEYS):
            raise ValueError(f"its keys are not among {', '.join(KEYS)}")
        scoring = Scoring(
            classes=np.array([_label(c, classes) for c in facts["classes"]], "int64") if "classes" in facts else None,
            valid=[[_label(c, classes) for c in labels] for labels in facts["valid"]] if "valid" in facts else None,
            corruptions=[(str(name), int(severity), int(images)) for name, severity, images in facts["corruptions"]]
            if "corruptions" in facts
            else None,
        )
        _check(scoring, files)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: does not fit {listed.name} ({error}); prepare the data set again") from None
    return scoring


def refuse_scoring(listed: Path) -> None:
    """Raise DataError for a list whose labels alone do not say how it is scored."""
    if scoring_file(listed).is_file():
        raise DataError(
            f"{listed}: {scoring_file(listed).name} says how to score it, as only `ssld eval` does; give another list"
        )


def _label(value: Any, classes: int) -> int:
    if type(value) is not int or not 0 <= value < classes:
        raise ValueError(f"{value!r} is no label; the network has {classes} classes")
    return value


def _check(scoring: Scoring, files: FileList) -> None:
    if scoring.classes is not None and scoring.valid is not None:
        raise ValueError("classes and valid exclude each other")
    if scoring.classes is not None:
        if (np.diff(scoring.classes) <= 0).any():
            raise ValueError("classes are not ascending")
        if strange := set(files.labels.tolist()) - set(scoring.classes.tolist()):
            raise ValueError(f"label {min(strange)} is not among its classes")
    if scoring.valid is not None and (len(scoring.valid) != len(files) or not all(scoring.valid)):
        raise ValueError(f"it has labels of {sum(map(bool, scoring.valid))} images, the list has {len(files)}")
    if scoring.corruptions is not None:
        sizes = [size for _, _, size in scoring.corruptions]
        if min(sizes, default=0) < 1 or sum(sizes) != len(files):
            raise ValueError(f"it counts {sum(sizes)} images, the list has {len(files)}")
