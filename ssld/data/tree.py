"""Find images in a tree of folders, and note what is left out of it, with the reason: nothing disappears in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ssld.data.lists import BREAK, SUFFIXES
from ssld.errors import DataError, some

# Systems put these folders beside a user's files: thumbnails, recycle bins, snapshots. Names with a dot are hidden too.
OF_SYSTEMS = frozenset(
    (
        "@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN", "__MACOSX", "lost+found",
        "System Volume Information",
    )
)  # fmt: skip
SHOWN = 2  # number of names that a summary gives for each reason


class LeftOut:
    """Note what was not taken: path relative to `root` -> reason."""

    def __init__(self, root: Path):
        self.root = root
        self.reasons: dict[str, str] = {}
        self.details: dict[str, str] = {}

    def add(self, path: str | os.PathLike[str], reason: str, detail: str = "") -> None:
        """Note a path with its reason. The detail is of this path alone, and no summary counts by it."""
        name = os.path.relpath(path, self.root)
        self.reasons[name] = reason
        if detail:
            self.details[name] = detail

    def forget(self, path: str | os.PathLike[str]) -> None:
        """Take back the note about a path, if there is one."""
        self.reasons.pop(os.path.relpath(path, self.root), None)

    def entry(self, entry: os.DirEntry[str], reason: str) -> None:
        """Note a file in a place where no file is taken; what is wrong with it in any place comes first."""
        self.add(entry.path, _fault_of_link(entry.path) or ("a hidden file" if hidden(entry.name) else reason))

    def refuse_faults(self) -> None:
        """Raise DataError, which names the first ones, for what would be an image of a complete set (FAULTS)."""
        faults = [f"{self.root / path} ({reason})" for path, reason in self.reasons.items() if reason in FAULTS]
        if faults:
            raise DataError(f"{some(faults)}; delete what is named, or fetch it again")

    def rows(self) -> list[tuple[str, str]]:
        """Return each path with its reason, and behind it in brackets what is to be said of this path alone."""
        details = {name: f" ({detail})" for name, detail in self.details.items()}
        return [(name, reason + details.get(name, "")) for name, reason in sorted(self.reasons.items())]

    def counts(self) -> dict[str, int]:
        """Return reason -> number, the most frequent first."""
        return dict(Counter(self.reasons.values()).most_common())

    def summary(self) -> list[str]:
        """Return a line for each reason: how many, and the first names."""
        lines = []
        for reason, number in self.counts().items():
            names = sorted(path for path, why in self.reasons.items() if why == reason)
            more = ", ..." if number > SHOWN else ""
            lines.append(f"left out, {reason}: {number} ({', '.join(names[:SHOWN])}{more})")
        return lines


def hidden(name: str) -> bool:
    """Say whether a file or folder is hidden, or a system's own."""
    return name.startswith(".") or name in OF_SYSTEMS


def sub_folders(folder: Path, left_out: LeftOut | None = None) -> list[str]:
    """Return the names of the sub-folders, sorted, without hidden ones. It raises DataError when there is none.

    A link to a folder counts as one, unless it leads to `folder` or to a folder that holds it.
    """
    left_out, names = left_out or LeftOut(folder), []
    for entry in os.scandir(folder):
        if not entry.is_dir():
            continue
        if hidden(entry.name):
            left_out.add(entry.path, "a hidden folder")
        elif entry.is_symlink() and _holds(entry.path, folder):
            left_out.add(entry.path, "a link to the folder that it lies in")
        else:
            names.append(entry.name)
    if not names:
        raise DataError(f"{folder}: no sub-folders; expected one sub-folder a class")
    if broken := [repr(name) for name in sorted(names) if BREAK.search(name)]:
        raise DataError(f"{folder}: folders whose names have a line break: {some(broken)}; rename them")
    return sorted(names)


def images_under(folder: Path, left_out: LeftOut, suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """Return the images anywhere under `folder`, sorted, as paths relative to the root of `left_out`.

    `left_out` notes what is left out.
    """
    return files_under(folder, left_out, suffixes, "image")


def files_under(folder: Path, left_out: LeftOut, suffixes: tuple[str, ...], what: str) -> list[str]:
    """Return files as `images_under` does. `what` names them in the reason of a file of another suffix."""
    files, start = [], len(str(left_out.root).rstrip(os.sep)) + 1
    for path, reason in _walk(folder, suffixes, what):
        if reason:
            left_out.add(path, reason)
        else:
            files.append(path[start:])
    return sorted(files)


NO_NAME_OF_A_LIST = "a name with a line break"
FAULTS = frozenset(
    (
        "an empty file", "a dangling link", "a link to a folder", "a folder that cannot be read", "no regular file",
        NO_NAME_OF_A_LIST,
    )
)  # fmt: skip


def _walk(folder: Path, suffixes: tuple[str, ...], what: str) -> Iterator[tuple[str, str]]:
    """Yield (path, reason) of the files under a folder, and of the folders that are left out.

    The reason says why it is left out; "" stands for one that is taken.
    """
    unread: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=lambda error: unread.append(str(error.filename))):
        visible_folders = []
        for name in sorted(folders):
            path = os.path.join(parent, name)
            if hidden(name):
                yield path, "a hidden folder"
            elif os.path.islink(path):
                yield path, "a link to a folder"
            elif BREAK.search(name):
                yield path, NO_NAME_OF_A_LIST
            else:
                visible_folders.append(name)
        folders[:] = visible_folders
        for name in sorted(files):
            path = os.path.join(parent, name)
            yield path, _why_not(path, name, suffixes, what)
    for path in unread:
        yield path, "a folder that cannot be read"


def _why_not(path: str, name: str, suffixes: tuple[str, ...], what: str) -> str:
    if hidden(name):
        return "a hidden file"
    if fault := _fault_of_link(path):
        return fault
    if not name.lower().endswith(suffixes):
        suffix = os.path.splitext(name)[1].lower()
        return f"no {what} that is read ({suffix or 'no suffix'})"
    if not os.path.isfile(path):
        return "no regular file"
    if BREAK.search(name):
        return NO_NAME_OF_A_LIST
    return "" if os.path.getsize(path) else "an empty file"


def _fault_of_link(path: str) -> str:
    return "a dangling link" if os.path.islink(path) and not os.path.exists(path) else ""


def _holds(link: str, folder: Path) -> bool:
    target, real = os.path.realpath(link), os.path.realpath(folder)
    return os.path.commonpath((target, real)) == target
