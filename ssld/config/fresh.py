"""Remember in a run folder that `--fresh` was given, until its run is finished.

The same command then resumes a run that was stopped, instead of beginning it anew again and again.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from ssld.files import damaged, read_text, write_whole

FRESH = "fresh"  # file of a run folder
ASKED, BEGUN = "asked", "begun"  # what it holds: before and after the old results were put aside
ADVICE = "remove it, and repeat the command, with --fresh to begin anew"


def ask(folders: Iterable[Path]) -> None:
    """Ask the runs of one command to begin anew. Where one of them has not ended since it was asked, they all go on.

    Raises RunError as `state` does.
    """
    all_folders = list(folders)
    if not any(state(folder) for folder in all_folders):
        for folder in all_folders:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / FRESH, ASKED)


def state(folder: Path) -> str | None:
    """Return ASKED or BEGUN, or None for a run that is finished or was not asked to begin anew.

    Raises RunError where the file is damaged.
    """
    file = folder / FRESH
    if not os.path.lexists(file):
        return None
    text = read_text(file, ADVICE)
    if text not in (ASKED, BEGUN):
        raise damaged(file, f"it says neither {ASKED} nor {BEGUN}", ADVICE)
    return text


def begin(folder: Path) -> None:
    """Record that the old results of a run are put aside: what its folder holds from now on is fresh."""
    write_whole(folder / FRESH, BEGUN)


def end(folder: Path) -> None:
    """Record that a run is finished."""
    (folder / FRESH).unlink(missing_ok=True)
