"""Turn a source of images into a folder of images with list files: `ssld data prepare KIND`."""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from typing import Any

from ssld.data.target import Prepared, Progress
from ssld.errors import DataError, did_you_mean

# kind -> module and function of `ssld.data`: `prepare(out, progress, **options)`
KINDS = {
    "digits": "digits.prepare",
    "fashion_mnist": "fashion_mnist.prepare",
    "fashion_pool": "fashion_pool.prepare",
    "glyphs": "glyphs.prepare",
    "cifar100": "cifar100.prepare",
    "imagenet": "imagenet.prepare",
    "imagenet_v2": "imagenet_tests.version_2",
    "imagenet_real": "imagenet_tests.reassessed",
    "imagenet_a": "imagenet_tests.adversarial",
    "imagenet_r": "imagenet_tests.renditions",
    "imagenet_sketch": "imagenet_tests.sketches",
    "imagenet_c": "imagenet_tests.corrupted",
    "folder": "folder.prepare",
    "unlabelled": "unlabelled.prepare",
}


def prepare(kind: str, out: str | os.PathLike[str], progress: Progress | None = None, **options: Any) -> Prepared:
    """Prepare a data set of one of KINDS under `out`; repeating the same command changes nothing.

    `progress(done, total)` is called now and then. The kind's function documents its options. It raises DataError for
    an unknown kind or option, a source that is missing or not as expected, and a folder that holds something else.
    """
    if kind not in KINDS:
        raise DataError(f"data prepare: no kind {kind!r}{did_you_mean(kind, KINDS)}; known: {', '.join(KINDS)}")
    module, name = KINDS[kind].split(".")
    function = getattr(import_module(f"ssld.data.{module}"), name)
    option_names = [name for name in inspect.signature(function).parameters if name not in ("out", "progress")]
    for option in options:
        if option not in option_names:
            raise DataError(f"data prepare {kind}: no option {option!r}{did_you_mean(option, option_names)}")
    result: Prepared = function(out, progress or (lambda done, total: None), **options)
    return result
