"""Say where files are. Recipes and cards are in top-level folders of the checkout.

In an installed package they are in `ssld/shelf/`.
"""

import os
from pathlib import Path

from ssld.errors import RecipeError, did_you_mean

SHELVES = ("recipes", "teachers", "students")


def shelf(kind: str) -> Path:
    """Return the folder of one kind: `recipes`, `teachers` or `students`.

    Raises RecipeError for another kind, or when the folder is missing (a damaged installation).
    """
    if kind not in SHELVES:
        raise RecipeError(f"no shelf named {kind!r}{did_you_mean(kind, SHELVES)}")
    package = Path(__file__).resolve().parent
    # The packaged copy comes first, because `recipes` beside an installed package may belong to another package.
    for folder in (package / "shelf" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise RecipeError(f"{package}: the folder {kind!r} is missing; install ssld again")


def data_root() -> Path:
    """Return the folder of the data sets: $SSLD_DATA, or `data` in the current folder. It need not exist yet."""
    return Path(os.environ.get("SSLD_DATA") or "data")


def data_root_said(path: str | os.PathLike[str]) -> str:
    """Say where the lists of recipes start from, for the message of a path in that folder that leads nowhere.

    It ends with a semicolon and a blank. Of other paths nothing is said.
    """
    if not Path(path).is_relative_to(data_root()):
        return ""
    if root := os.environ.get("SSLD_DATA"):
        return f"recipes count from $SSLD_DATA, which is {root}; "
    return "recipes count from `data` in the current folder, for $SSLD_DATA is not set; "


def labels_root() -> Path:
    """Return the folder of label caches: $SSLD_LABELS, or `labels` in the current folder. It need not exist yet."""
    return Path(os.environ.get("SSLD_LABELS") or "labels")


def weights_root() -> Path:
    """Return the folder of downloaded weights: $SSLD_WEIGHTS, or `weights` in the current folder.

    It need not exist yet.
    """
    return Path(os.environ.get("SSLD_WEIGHTS") or "weights")


def cache_root() -> Path:
    """Return the folder of files that only save time: $XDG_CACHE_HOME/ssld or ~/.cache/ssld. It need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssld"
