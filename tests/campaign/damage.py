"""Damage files in every way in which disks, copies and people damage them.

`damaged_copies` is what a campaign walks over; `damage` harms one file in place. What harms a file is a `Way`, and WAYS
has them all by name.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

Way = Callable[[Path, Path | None], bool]
"""A function of (file, the same kind of file of another run or None). It harms the file and returns True, or returns
False and leaves the file alone where this way does not change it.
"""


def flip(place: float) -> Way:
    """Return the way that changes one byte, at a place from 0 (the first byte) to 1 (the last one)."""

    def flipped(file: Path, other: Path | None) -> bool:
        data = bytearray(file.read_bytes())
        if not data:
            return False
        position = round(place * (len(data) - 1))
        data[position] ^= 1
        file.write_bytes(data)
        return True

    return flipped


def cut(share: float) -> Way:
    """Return the way that keeps the first part of a file, a share of its bytes."""

    def truncated(file: Path, other: Path | None) -> bool:
        size = file.stat().st_size
        os.truncate(file, round(share * size))
        return file.stat().st_size < size

    return truncated


def cut_line(file: Path, other: Path | None) -> bool:
    """Remove the last line of a text. What is left is a whole text, only shorter."""
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    return len(lines) > 1


def zero(file: Path, other: Path | None) -> bool:
    """Replace every byte by zero, as file systems do that lost the content of a file and kept its size."""
    size = file.stat().st_size
    file.write_bytes(bytes(size))
    return size > 0


def delete(file: Path, other: Path | None) -> bool:
    """Remove the file."""
    file.unlink()
    return True


def swap(file: Path, other: Path | None) -> bool:
    """Replace the file by that of another run."""
    if other is None or other.read_bytes() == file.read_bytes():
        return False
    shutil.copyfile(other, file)
    return True


def make_folder(file: Path, other: Path | None) -> bool:
    """Replace the file by an empty folder of its name."""
    file.unlink()
    file.mkdir()
    return True


def make_unreadable(file: Path, other: Path | None) -> bool:
    """Take the right to read the file from everybody. Root can read it all the same, so that nothing changes there."""
    file.chmod(0)
    return not os.access(file, os.R_OK)


def make_loop(file: Path, other: Path | None) -> bool:
    """Replace the file by a link to itself, which nobody can open."""
    file.unlink()
    file.symlink_to(file.name)
    return True


def make_pipe(file: Path, other: Path | None) -> bool:
    """Replace the file by a named pipe. Who opens it to read waits until somebody writes, which nobody does."""
    file.unlink()
    os.mkfifo(file)
    return True


WAYS: Mapping[str, Way] = {
    "its first byte flipped": flip(0.0),
    "a byte in its first quarter flipped": flip(0.25),
    "a byte in its middle flipped": flip(0.5),
    "its last byte flipped": flip(1.0),
    "cut in its middle": cut(0.5),
    "without its last line": cut_line,
    "emptied": cut(0.0),
    "filled with zeros": zero,
    "deleted": delete,
    "swapped with that of another run": swap,
    "replaced by a folder": make_folder,
    "not readable": make_unreadable,
    "replaced by a link to itself": make_loop,
    "replaced by a pipe": make_pipe,
}


def files_of(folder: Path) -> list[str]:
    """Return the files of a folder and of its subfolders, relative to it, in order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def damage(file: Path, way: str, other: Path | None = None) -> bool:
    """Harm a file in place in the way of this name. `other` is the same kind of file of another run, for a swap.

    Returns whether that changed the file.
    """
    return WAYS[way](file, other if other is not None and other.is_file() else None)


def damaged_copies(
    folder: Path,
    scratch: Path,
    other: Path | None = None,
    ways: Collection[str] = tuple(WAYS),
    wanted: Callable[[str], bool] = lambda name: True,
) -> Iterator[tuple[str, Path]]:
    """Yield (what was done, a copy of the folder in which one file is damaged) for every file and way.

    The copies have the name of the folder and lie one after the other in `scratch`; each is removed before the next one
    is made. `other` is the folder of another run, from which swapped files come: the file of the same path, or else
    the one of the same name whose path differs in digests alone. `wanted` chooses files by their relative path.
    """
    for name in filter(wanted, files_of(folder)):
        for way in ways:
            copy = scratch / folder.name
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy, symlinks=True)
            if damage(copy / name, way, counterpart(other, name) if other else None):
                yield f"{name} {way}", copy
    shutil.rmtree(scratch / folder.name, ignore_errors=True)


def counterpart(other: Path, name: str) -> Path | None:
    """Return the file of another run that has the part of `name`, whose folders may have digests in their names."""
    if (other / name).is_file():
        return other / name
    pattern = "/".join(part.rpartition("-")[0] + "-*" if "-" in part else part for part in name.split("/"))
    return next((path for path in sorted(other.glob(pattern)) if path.is_file()), None)
