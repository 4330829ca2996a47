"""Read and write list files, the one form of every data set.

A line is `path label`; a line without a label is an unlabelled image.
"""

from __future__ import annotations

import codecs
import hashlib
import itertools
import os
import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssld.errors import DataError, some
from ssld.files import open_regular, write_whole
from ssld.paths import data_root_said

UNLABELLED = -1
MOST_CLASSES = 2**24  # a label is smaller where no number of classes is given, so that classes can be counted
CLASSES = "classes.txt"
MARK = "\ufeff"  # a byte order mark, as some editors put before a text
BREAK = re.compile(r"[\r\n]")
NUMBER = re.compile(r"[+-]?\d+")
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".jp2",
)  # fmt: skip
# Files with these suffixes are images too: a list may name them, and `ssld data check` says that they are not read.
NOT_READ = (".gif", ".avif", ".heic", ".svg")


@dataclass(frozen=True)
class FileList:
    """Hold image files in a fixed order: the `sources.ImageSource` of list files.

    paths: as written in the list, relative to `root` (absolute ones stay as they are);
    labels: int64 [n], -1 = unlabelled; root: the folder that the paths start from.
    """

    paths: list[str]
    labels: np.ndarray
    root: str = "."

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> str:
        """Return the path of one image that can be opened from the current folder."""
        return os.path.join(self.root, self.paths[index])

    def subset(self, index: np.ndarray) -> FileList:
        """Return the images at these positions, in this order."""
        return FileList([self.paths[i] for i in index], self.labels[index], self.root)

    def name(self, index: int) -> str:
        """Return the name of one image in messages: its path."""
        return self.path(index)

    def image(self, index: int) -> str:
        """Return what a loader reads: the path."""
        return self.path(index)

    def digest(self) -> str:
        """Return sha256 over the labels and the paths as the list has them, without a look at `root` or the files."""
        content = hashlib.sha256(f"{len(self)} files\n".encode() + self.labels.astype("<i8").tobytes())
        content.update(os.fsencode("\n".join(self.paths)))
        return content.hexdigest()

    @property
    def title(self) -> str:
        """Return the data set's name in messages."""
        return self.root

    @property
    def remedy(self) -> str:
        """Say what the user can do about an image that cannot be read."""
        return "run `ssld data check` and mend or drop what it lists"


def read_list(
    file: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    root: str | os.PathLike[str] = ".",
    classes: int | None = None,
) -> FileList:
    """Read one list file, or several one after the other.

    A line is `path label` with the label after the last white space, so paths may contain spaces. A line whose last
    word is not a number but ends in an image suffix is an unlabelled image (label -1; `path -1` means the same). Blank
    lines are skipped. The images themselves are not looked at: five million lines take a few seconds.

    It raises DataError for a missing or empty file, a missing root folder, a bad line and a label outside 0..classes-1,
    or from MOST_CLASSES on where `classes` is not given.
    """
    files = [file] if isinstance(file, (str, os.PathLike)) else list(file)
    if not os.path.isdir(root):
        raise DataError(f"{root}: no such data folder; {data_root_said(root)}check the path or run `ssld data prepare`")
    if not files:
        raise DataError(f"{root}: no list file given; name at least one")
    paths: list[str] = []
    labels: array[int] = array("q")
    for name in files:
        before = len(paths)
        _parse(Path(name), paths, labels)
        if len(paths) == before:
            raise DataError(f"{name}: the list has no line; every line is `path label`")
        _check_range(Path(name), np.array(labels[before:], dtype=np.int64), classes)
    return FileList(paths, np.array(labels, dtype=np.int64), str(root))


def count_lines(file: str | os.PathLike[str]) -> int:
    """Count the images of a list file: its lines that are not blank. A file that cannot be read raises DataError."""
    try:
        with open_regular(file, "rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); give a readable list file") from None


def write_list(file: str | os.PathLike[str], paths: Sequence[str], labels: Sequence[int] | None = None) -> None:
    """Write a list file, whole or not at all; without labels the images are unlabelled.

    A path that a line cannot hold raises DataError.
    """
    write_whole(Path(file), list_text(paths, labels), "surrogateescape")


def holds(path: str) -> bool:
    """Say whether a list file can hold a path: it has no line break, and no white space at its ends."""
    return path == path.strip() and not BREAK.search(path) and bool(path)


def list_text(paths: Sequence[str], labels: Sequence[int] | None = None) -> str:
    """Return the text of a list file that `read_list` reads back as these paths and labels."""
    if bad := [repr(path) for path in paths if not holds(path)]:
        these = "this name; rename the image" if len(bad) == 1 else f"these {len(bad)} names; rename the images"
        raise DataError(f"{some(bad)}: a list file cannot hold {these}")
    if labels is not None:
        return "".join(f"{path} {label}\n" for path, label in zip(paths, labels, strict=True))
    # an unusual suffix needs the explicit label, which tells the image from a bad line
    return "".join(f"{p}\n" if _has_suffix(p.split()[-1]) else f"{p} {UNLABELLED}\n" for p in paths)


def _parse(file: Path, paths: list[str], labels: array[int]) -> None:
    try:
        _refuse_utf_16(file)
        with open_regular(file, encoding="utf-8", errors="surrogateescape") as lines:
            for number, marked in enumerate(lines, start=1):
                line = marked.lstrip(MARK)  # a mark stands at the start, and where lists were joined
                words = line.rsplit(None, 1)
                if len(words) == 2 and words[1].isdecimal() and len(words[1]) < 19:  # fits into int64
                    paths.append(words[0].lstrip())
                    labels.append(int(words[1]))
                elif words:
                    path, label = _unlabelled(line.strip(), words, f"{file}:{number}")
                    paths.append(path)
                    labels.append(label)
    except FileNotFoundError:
        what = f"no such list file; {data_root_said(file)}check the path or run `ssld data prepare`"
        raise DataError(f"{file}: {what}") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); give a readable list file") from None


def _refuse_utf_16(file: Path) -> None:
    with open_regular(file, "rb") as stream:
        if stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            raise DataError(f"{file}: is written in UTF-16; save it as UTF-8")


def _unlabelled(line: str, words: list[str], where: str) -> tuple[str, int]:
    if len(words) == 2 and NUMBER.fullmatch(words[1]):
        if words[1] != str(UNLABELLED):
            raise DataError(f"{where}: label {words[1][:40]} is out of range; labels start at 0, -1 means unlabelled")
        return words[0].lstrip(), UNLABELLED
    if _has_suffix(words[-1]):
        return line, UNLABELLED
    raise DataError(f"{where}: bad line {line[:80]!r}; a line is `path label` with a whole number as label")


def _has_suffix(word: str) -> bool:
    return word.lower().endswith((*SUFFIXES, *NOT_READ))


def _check_range(file: Path, labels: np.ndarray, classes: int | None) -> None:
    most = MOST_CLASSES if classes is None else classes
    bad = np.flatnonzero(labels >= most)
    if bad.size:
        with open(file, encoding="utf-8", errors="surrogateescape") as lines:
            filled = (number for number, line in enumerate(lines, start=1) if line.strip())
            number = next(itertools.islice(filled, int(bad[0]), None))
        why = f"no list has labels from {most:,} on" if classes is None else f"the recipe has {classes} classes"
        raise DataError(f"{file}:{number}: label {labels[bad[0]]} is out of range; {why}, labels 0..{most - 1}")


def class_names(listed: Path, classes: int) -> list[str]:
    """Return the first lines of the `classes.txt` beside a list file, one a class; [] where there are not so many."""
    names = (read_names(listed.parent / CLASSES) or [])[:classes]
    return names if len(names) == classes and all(names) else []


def read_names(file: Path) -> list[str] | None:
    """Return the names of a classes.txt, one a line in the order of the labels; None where there is no such file.

    It raises DataError for a file that cannot be read.
    """
    try:
        with open_regular(file, encoding="utf-8", errors="replace") as stream:
            names = stream.read().lstrip(MARK).split("\n")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); give a readable file") from None
    while names and not names[-1]:
        names.pop()
    return names


def compare_classes(listed: Path, with_list: Path) -> None:
    """Raise DataError where a label means one class in a list, and another one in `with_list`.

    The classes.txt beside each list says what its labels mean. Where one of the two has none, there is nothing to
    compare.
    """
    own, other = (read_names(file.parent / CLASSES) for file in (listed, with_list))
    if own is None or other is None or own == other:
        return
    number = next((i for i, pair in enumerate(zip(own, other, strict=False)) if pair[0] != pair[1]), None)
    if number is None:
        what = f"there are {len(own)} classes, and {len(other)} beside {with_list}"
    else:
        what = f"label {number} is {own[number][:60]!r}, beside {with_list} it is {other[number][:60]!r}"
    raise DataError(
        f"{listed.parent / CLASSES}: {what}; prepare this set anew with --class-list {with_list.parent / CLASSES}"
    )
