"""Write the folder of `ssld data prepare`: no file there is ever overwritten, and `dataset.json` says what it is.

That file alone is replaced, where a folder that an older version made gets the lists that a newer version has.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from ssld.data.lists import CLASSES, list_text
from ssld.data.tree import LeftOut
from ssld.errors import DataError
from ssld.files import clear, whole, write_whole

MANIFEST = "dataset.json"
LEFT_OUT = "left_out.csv"
Progress = Callable[[int, int], None]  # is called with (done, total)


class _Written(TypedDict):
    kind: str
    classes: int
    lists: dict[str, int]
    status: Literal["prepared", "already prepared"]


class Prepared(_Written, total=False):
    """Describe a data set on disk: kind, number of classes (0 = no labels), list file -> number of images, and status.

    status: whether this call wrote the data set or found it complete. left_out: reason -> number of files and folders
    of the source that were not taken; left_out.csv names each. remarks: lines about them, and about what is probably
    not meant. digest: sha256 over the content of a data set that is drawn here. All three are there only where they
    have content.
    """

    left_out: dict[str, int]
    remarks: list[str]
    digest: str


class Target:
    """Collect files and lists under `out`; `finish` writes the manifest last.

    source: the folder that holds the images where they stay in place. A path in a list starts from the list's folder
    where that is `source`, else it is absolute: a list is always read with its own folder as root.
    """

    def __init__(self, kind: str, out: str | os.PathLike[str], options: dict[str, Any], source: Path | None = None):
        self.kind, self.out = kind, Path(out)
        self._options, self._prefix = options, "" if source in (None, self.out.resolve()) else f"{source}{os.sep}"
        self._lists: dict[str, dict[str, Any]] = {}
        self._wrote = False
        self.older = False  # whether the folder holds this data set as an older version made it, see `done`
        self._folders: set[Path] = set()  # those that it has written to
        self.left_out = LeftOut(source or self.out)
        self.remarks: list[str] = []
        self.facts: dict[str, Any] = {}  # what the manifest says besides options, classes and lists
        if self.out.exists() and not self.out.is_dir():
            raise DataError(f"{self.out}: is a file; give a folder to write the data set to")

    def done(self, wanted: Collection[str] = ()) -> Prepared | None:
        """Return the data set that is in the folder already, or None.

        Its manifest must name the same options, and its lists must be untouched; else it raises DataError. Where it
        lacks some of the lists that are `wanted`, an older version made it: `older` becomes true, None is returned, and
        the caller saves these lists alone; `finish` adds them to the manifest.
        """
        file = self.out / MANIFEST
        if not file.is_file():
            return None
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
            lists, same = manifest["lists"], (manifest["kind"], manifest["options"]) == (self.kind, self._options)
            classes = manifest["classes"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{file}: not a manifest of `ssld data prepare`; choose another folder") from None
        if not same:
            raise DataError(
                f"{self.out}: holds {manifest['kind']} with {_flat(manifest['options'])}, not {self.kind} with "
                f"{_flat(self._options)}; choose another folder"
            )
        for name, facts in lists.items():
            path = self.out / name
            if not path.is_file() or _sha256(path.read_bytes()) != facts["sha256"]:
                raise DataError(f"{path}: missing or changed since it was prepared; choose another folder")
        if not set(wanted) <= set(lists):
            self.older, self._lists = True, lists
            return None
        counts = {name: facts["images"] for name, facts in lists.items()}
        prepared = Prepared(kind=self.kind, classes=classes, lists=counts, status="already prepared")
        if "digest" in manifest:
            prepared["digest"] = manifest["digest"]
        return prepared

    def save(self, name: str, data: bytes) -> None:
        """Write one file whole or not at all. It raises DataError where a file of other content is in its place."""
        path = self.out / name
        if path.exists():
            if path.read_bytes() != data:
                raise DataError(f"{path}: exists with other content; choose another folder or delete it")
            return
        if path.parent not in self._folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            clear(path.parent)
            self._folders.add(path.parent)
        with whole(path, durable=False) as partial:
            partial.write_bytes(data)
        self._wrote = True

    def save_list(self, name: str, paths: Sequence[str], labels: Sequence[int] | None = None) -> None:
        """Write a list file; without labels all its images are unlabelled."""
        data = list_text([self._prefix + path for path in paths], labels).encode("utf-8", "surrogateescape")
        self.save(name, data)
        self._lists[name] = {"images": len(paths), "sha256": _sha256(data)}

    def digest_of_lists(self) -> str:
        """Return the sha256 of each list that was saved, by name, in one text."""
        return "".join(f"{name} {facts['sha256']}\n" for name, facts in sorted(self._lists.items()))

    def finish(self, classes: Sequence[str] = ()) -> Prepared:
        """Write classes.txt (one name a line, in the order of the labels) and the manifest.

        It raises DataError for a name that does not fit into a line.
        """
        if broken := next((name for name in classes if "\n" in name or "\r" in name), None):
            raise DataError(f"{broken!r}: a class has a line break in its name; rename the folder of the class")
        if classes:
            self.save(CLASSES, "".join(f"{name}\n" for name in classes).encode("utf-8", "surrogateescape"))
        manifest = {
            "kind": self.kind,
            "options": self._options,
            "classes": len(classes),
            "lists": self._lists,
            **self.facts,
        }
        text = json.dumps(manifest, indent=2) + "\n"
        if self.older:
            write_whole(self.out / MANIFEST, text)
        else:
            self.save(MANIFEST, text.encode())
        counts = {name: facts["images"] for name, facts in self._lists.items()}
        status: Literal["prepared", "already prepared"] = "prepared" if self._wrote else "already prepared"
        prepared = Prepared(kind=self.kind, classes=len(classes), lists=counts, status=status)
        # Where `out` is the source, an earlier call may have written these files there.
        for name in (*self._lists, CLASSES, MANIFEST, LEFT_OUT):
            self.left_out.forget(self.out / name)
        if self.left_out.reasons:
            self._tell_left_out()
            prepared["left_out"] = self.left_out.counts()
        if self.remarks:
            prepared["remarks"] = self.remarks
        if "digest" in self.facts:
            prepared["digest"] = self.facts["digest"]
        return prepared

    def _tell_left_out(self) -> None:
        """Write the report of the files that are left out.

        It is no part of the data set: unlike all other files it is written anew by every call.
        """
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *self.left_out.rows()])
        write_whole(self.out / LEFT_OUT, text.getvalue(), "surrogateescape")
        self.remarks = [*self.left_out.summary(), *self.remarks]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _flat(options: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in options.items()) or "no options"
