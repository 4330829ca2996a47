"""This module writes what a mining leaves: list, tables, sheet, and the images that came out of tars."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssld.config.mine_step import LIST
from ssld.data import FileList
from ssld.data.lists import list_text
from ssld.errors import DataError
from ssld.files import sha256, whole, write_whole
from ssld.mine import results
from ssld.mine.results import SeenContents, State
from ssld.mine.select import Choice, final, paths
from ssld.mine.sheet import write_sheet
from ssld.progress import progress

CHOSEN, REMOVED, UNREADABLE, SHEET = "mined.csv", "removed.csv", "unreadable.csv", "sheet.html"


def write_out(
    about: dict[str, Any],
    choice: Choice,
    files: list[Path],
    against: FileList,
    names: list[str],
    out: Path,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write everything but mining.json into `out`; return the names of the files, and the sha256 of the list.

    files: the results of the shards. names: the names of the classes. Raises DataError when no image was chosen.
    """
    _table(out / UNREADABLE, ("image", "reason"), _faults(files))
    _table(out / REMOVED, ("image", "validation_image", "inliers", "correlation"), _near(files, against))
    rows = choice.rows
    if not len(rows):
        raise DataError(f"{out}: no image was chosen; lower --min-score, or see {UNREADABLE} and {REMOVED} there")
    places, first = np.unique(rows.place, return_index=True)
    with progress(len(places), "write", quiet=quiet) as bar:
        path_of_place = paths(files, places, out, bar.update)
    order = np.argsort(first, kind="stable")  # an image that serves several classes stands where it comes first
    write_whole(out / LIST, list_text([path_of_place[position] for position in order]), "surrogateescape")
    path_of = np.searchsorted(places, rows.place)
    chosen_rows = zip(path_of.tolist(), rows.label.tolist(), rows.score.tolist(), strict=True)
    _table(
        out / CHOSEN, ("path", "class", "score"), ((path_of_place[p], names[c], f"{s:.6f}") for p, c, s in chosen_rows)
    )
    write_sheet(out / SHEET, about, choice, files, against, names)
    return {"list": LIST, "list_sha256": sha256(out / LIST), "sheet": SHEET}


def _faults(files: list[Path]) -> Iterator[tuple[object, ...]]:
    """Yield the name of every image that cannot be used, and the reason."""
    for file in files:
        result = results.load(file)
        yield from ((result.items[image].name, reason) for image, reason in sorted(result.reasons.items()))


def _near(files: list[Path], against: FileList) -> Iterator[tuple[object, ...]]:
    """Yield the rows of removed near-duplicates."""
    contents = SeenContents()
    for file in files:
        result = results.load(file)
        state = final(result, contents)
        for image, (other, inliers, correlation) in sorted(result.near.items()):
            if state[image] == State.NEAR:
                yield result.items[image].name, against.path(int(other)), int(inliers), f"{correlation:.4f}"


def _table(file: Path, head: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
    """Write a CSV file, whole or not at all."""
    with whole(file) as partial, open(partial, "w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
