"""`ssld data`: a data set written as image files and list files, or the images of a list checked."""

from pathlib import Path
from typing import Any, Literal, TypedDict

from ssld.data import check, prepare, read_list
from ssld.data.target import Prepared
from ssld.errors import DataError
from ssld.paths import data_root
from ssld.progress import note, progress


class PreparedFolder(Prepared):
    """What was prepared, and the folder that it is in."""

    folder: str


class CheckedList(TypedDict):
    """A list file whose images can all be read: how many there are, and how many of them have a label."""

    list: str
    images: int
    labelled: int
    unreadable: int


def data(
    *,
    action: Literal["prepare", "check"],
    what: str,
    source: str | None,
    out: str | None,
    val_share: float | None,
    allow_partial: bool,
    imagenet: str | None,
    ground_truth: str | None,
    labelled: int | None,
    seed: int | None,
    classes: int | None,
    root: str | None,
    threads: int,
    quiet: bool,
) -> PreparedFolder | CheckedList:
    """Prepare the data set `what`, or check the list file `what`.

    Prepare: write the images and list files of a kind of data set under `out` (by default in the data folder), with the
    options that the kind takes; a data set that is already there stays as it is. Check: decode every image of a list,
    in `threads` threads; `quiet` hides the progress. Each action leaves the options of the other aside. Raises
    DataError for an unknown kind, an option that the kind does not take, a source that is not as expected, and for
    images that cannot be read, each of which is named in a line on standard error.
    """
    if action == "check":
        return _check(Path(what), classes, root, threads, quiet)
    options: dict[str, Any] = {
        "source": source,
        "ground_truth": ground_truth,
        "imagenet": imagenet,
        "labelled": labelled,
        "val_share": val_share,
        "seed": seed,
        "allow_partial": allow_partial or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    return _prepare(what, Path(out) if out else data_root() / what, given)


def _prepare(kind: str, out: Path, options: dict[str, Any]) -> PreparedFolder:
    """Write a data set as image files and list files; says so when it is already there."""
    with progress(0, f"prepare {kind}") as bar:
        prepared = prepare(kind, out, progress=bar.count, **options)
    return {"folder": str(out), **prepared}


def _check(file: Path, classes: int | None, root: str | None, threads: int, quiet: bool) -> CheckedList:
    """Decode every image of a list; a line on standard error for each that cannot be read, then DataError."""
    files = read_list(file, root or file.parent, classes)
    with progress(len(files), "check", quiet=quiet) as bar:
        report = check(files, threads=threads, progress=bar.count)
    for path, reason in report.bad:
        note(f"{path}: {reason}")
    if report.bad:
        raise DataError(f"{file}: {len(report.bad)} of {len(files)} images cannot be read; remove them from the list")
    return {"list": str(file), "images": len(files), "labelled": int((files.labels >= 0).sum()), "unreadable": 0}
