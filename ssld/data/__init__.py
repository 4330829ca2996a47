"""Turn list files, arrays or samples of images into batches.

`pipeline.Loader` makes the batches of a training, `pipeline.EvalLoader` those of an evaluation; `sources` says what
both of them take.

The loaders load on first use: reading, checking and preparing lists needs neither Paddle nor DALI.
"""

from typing import TYPE_CHECKING, Any

from ssld.data.augment import Augment
from ssld.data.check import check
from ssld.data.fake import fake
from ssld.data.lists import FileList, class_names, read_list
from ssld.data.prepare import prepare
from ssld.data.scoring import Scoring, read_scoring, refuse_scoring
from ssld.data.sources import ImageSource, Samples, from_arrays, from_samples

if TYPE_CHECKING:
    from ssld.data.pipeline import EvalLoader, FurtherView, Loader, Views

__all__ = [
    "Augment",
    "EvalLoader",
    "FileList",
    "FurtherView",
    "ImageSource",
    "Loader",
    "Samples",
    "Scoring",
    "Views",
    "check",
    "class_names",
    "fake",
    "from_arrays",
    "from_samples",
    "prepare",
    "read_list",
    "read_scoring",
    "refuse_scoring",
]


def __getattr__(name: str) -> Any:
    if name in ("Loader", "EvalLoader", "FurtherView", "Views"):
        from ssld.data import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'ssld.data' has no attribute {name!r}")
