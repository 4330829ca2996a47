"""This package mines unlabelled images for a distillation: it removes near-duplicates of the validation set and chooses
the best images of each class.

`mining_job.mine(job)` does all of it. It needs the extra `mine` (OpenCV and faiss).
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssld.errors import RunError

if TYPE_CHECKING:
    from ssld.mine.mining_job import Job, Mined, mine, open_folder
    from ssld.mine.score import BATCH, Teacher
    from ssld.mine.select import Options
    from ssld.mine.sources import shards

logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it reports which instructions it looks for

__all__ = ["BATCH", "Job", "Mined", "Options", "Teacher", "mine", "open_folder", "shards"]

_LATER = {
    "BATCH": "score",
    "Job": "mining_job",
    "Mined": "mining_job",
    "Options": "select",
    "Teacher": "score",
    "mine": "mining_job",
    "open_folder": "mining_job",
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
