"""Unlabelled images for a distillation: near-duplicates of the validation set removed, the best of each class chosen.

`line.mine(job)` is the whole of it. It needs the extra `mine` (OpenCV and faiss).
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssld.errors import RunError

if TYPE_CHECKING:
    from ssld.mine.line import Job, mine, open_folder
    from ssld.mine.score import BATCH, Teacher
    from ssld.mine.select import Options
    from ssld.mine.sources import shards

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells which instructions it looks for

__all__ = ["BATCH", "Job", "Options", "Teacher", "mine", "open_folder", "shards"]

_LATER = {
    "BATCH": "score",
    "Job": "line",
    "Options": "select",
    "Teacher": "score",
    "mine": "line",
    "open_folder": "line",
    "shards": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'ssld.mine' has no attribute {name!r}")
    try:
        return getattr(import_module(f"ssld.mine.{_LATER[name]}"), name)
    except ImportError as error:
        if error.name not in ("cv2", "faiss"):
            raise
        what = "OpenCV" if error.name == "cv2" else "faiss"
        raise RunError(f'mine: {what} is missing or broken ({error}); pip install "ssld[mine]"') from None
