"""Find files with equal bytes, between two lists or within one. Files of different sizes are never read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ssld.files import sha256


def equal_files(asked: Sequence[str], among: Sequence[str]) -> list[tuple[str, str]]:
    """Return (file of `asked`, the first file of `among` with equal bytes) for the files that have one, in order.

    A file that stands in both lists by the same path equals itself. A file that cannot be read equals nothing.
    """
    sizes: dict[int, list[str]] = {}
    for path in among:
        if (size := _size(path)) >= 0:
            sizes.setdefault(size, []).append(path)
    contents: dict[int, dict[str, str]] = {}  # size -> digest -> first path
    pairs = []
    for path in asked:
        size = _size(path)
        if size not in sizes:
            continue
        if size not in contents:
            contents[size] = {}
            for other in sizes[size]:
                if digest := _digest(other):
                    contents[size].setdefault(digest, other)
        if (digest := _digest(path)) in contents[size]:
            pairs.append((path, contents[size][digest]))
    return pairs


def doubles(files: Sequence[str]) -> list[tuple[str, str]]:
    """Return (file, an earlier file with equal bytes or the same path) for the files that have one, in order."""
    first_path: dict[str, str] = {}
    by_size: dict[int, list[str]] = {}
    for path in files:
        by_size.setdefault(_size(path), []).append(path)
    pairs = []
    for path in files:
        size = _size(path)
        if size < 0 or len(by_size[size]) < 2 or not (digest := _digest(path)):
            continue
        if digest in first_path:
            pairs.append((path, first_path[digest]))
        first_path.setdefault(digest, path)
    return pairs


def _size(path: str) -> int:
    """Return the bytes of a file; a number below 0 says that there is no file."""
    try:
        return os.path.getsize(path) if os.path.isfile(path) else -1
    except OSError:
        return -1


def _digest(path: str) -> str:
    try:
        return sha256(Path(path))
    except OSError:
        return ""
