"""Where things lie. Recipes and cards: top-level folders of the checkout, `ssld/shelf/` in an installed package."""

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
    # The packaged copy first: next to an installed package, `recipes` may be a folder of somebody else.
    for folder in (package / "shelf" / kind, package.parent / kind):
        if folder.is_dir():
            return folder
    raise RecipeError(f"{package}: the folder {kind!r} is missing; install ssld again")


def data_root() -> Path:
    """Folder of the data sets: $SSLD_DATA, or `data` in the current folder. It need not exist yet."""
    return Path(os.environ.get("SSLD_DATA") or "data")


def labels_root() -> Path:
    """Folder of label caches: $SSLD_LABELS, or `labels` in the current folder. It need not exist yet."""
    return Path(os.environ.get("SSLD_LABELS") or "labels")


def weights_root() -> Path:
    """Folder of downloaded weights: $SSLD_WEIGHTS, or `weights` in the current folder. It need not exist yet."""
    return Path(os.environ.get("SSLD_WEIGHTS") or "weights")


def cache_root() -> Path:
    """Folder of what only saves time when it is there: $XDG_CACHE_HOME/ssld or ~/.cache/ssld. It need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssld"
