"""Write the list of any tree of images, without labels: the pool that a teacher labels."""

from __future__ import annotations

import os

from ssld.data.folder import source_folder
from ssld.data.target import Prepared, Progress, Target
from ssld.data.tree import images_under
from ssld.errors import DataError


def prepare(out: str | os.PathLike[str], progress: Progress, source: str | os.PathLike[str] = "") -> Prepared:
    """Write unlabelled.txt with every image under `source`; the images stay where they are.

    It raises DataError when there is none. `remarks` says what is left out.
    """
    root = source_folder(source, "unlabelled")
    target = Target("unlabelled", out, {"source": str(root)}, root)
    paths = images_under(root, target.left_out)
    if not paths:
        raise DataError(f"{root}: no images found; give the folder of the images")
    progress(len(paths), len(paths))
    target.save_list("unlabelled.txt", paths)
    return target.finish()
