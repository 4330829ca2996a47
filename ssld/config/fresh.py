"""Remember in a run folder that `--fresh` was given, until its run is finished.

The same command then resumes a run that was stopped, instead of beginning it anew again and again.
"""

from collections.abc import Iterable
from pathlib import Path

from ssld.files import write_whole

FRESH = "fresh"  # file of a run folder
ASKED, BEGUN = "asked", "begun"  # what it holds: before and after the old results were put aside


def ask(folders: Iterable[Path]) -> None:
    """Ask the runs of one command to begin anew. Where one of them has not ended since it was asked, they all go on."""
    all_folders = list(folders)
    if not any(state(folder) for folder in all_folders):
        for folder in all_folders:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / FRESH, ASKED)


def state(folder: Path) -> str | None:
    """Return ASKED or BEGUN, or None for a run that is finished or was not asked to begin anew."""
    file = folder / FRESH
    return file.read_text(encoding="utf-8") if file.is_file() else None


def begin(folder: Path) -> None:
    """Record that the old results of a run are put aside: what its folder holds from now on is fresh."""
    write_whole(folder / FRESH, BEGUN)


def end(folder: Path) -> None:
    """Record that a run is finished."""
    (folder / FRESH).unlink(missing_ok=True)
