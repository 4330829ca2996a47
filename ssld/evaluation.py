"""Evaluate networks on the labelled images of a list, as `ssld eval` and `ssld reproduce` do.

Paddle is imported late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssld.config import cards
from ssld.errors import DataError
from ssld.paths import data_root, data_root_said

if TYPE_CHECKING:
    from ssld.data import FileList, ImageSource, Scoring
    from ssld.distill.arrays import Flags
    from ssld.distill.evaluate import Measured
    from ssld.runtime import Runtime


def labelled_list(data: str | None) -> Path:
    """Return a list file.

    For a folder it is the one in it or beside it, such as imagenet/val_list.txt for imagenet/val. The default is
    imagenet/val. Relative paths are looked for in the current folder, then in the data folder: so it is for every
    `--data`. Raises DataError when there is no such list.
    """
    location = Path(data or "imagenet/val")
    for path in (location, data_root() / location):
        for file in (path, path / "val_list.txt", path.with_name(f"{path.name}_list.txt")):
            if file.is_file():
                return file
    origin = data_root_said(data_root() / location)
    raise DataError(f"{location}: no list file there; {origin}give one, or let `ssld data prepare imagenet` write it")


def images_right(folder: Path, runtime: Runtime) -> Flags:
    """Return which validation images of a finished run its student has right, bool [n], in their order.

    Raises RunError where the folder holds no finished run.
    """
    from ssld.distill.evaluate import predict
    from ssld.distill.images import eval_loader
    from ssld.distill.networks import trained_network
    from ssld.distill.runs import Run

    last = Run.of_folder(folder, runtime).last
    logits, labels = predict(trained_network(last), eval_loader(last))
    right: Flags = logits.argmax(axis=1) == labels
    return right


def scored_list(list_file: Path, classes: int) -> tuple[FileList, Scoring]:
    """Return the images of a list, each with a label below `classes`, and how they are scored. Raises DataError."""
    from ssld.data import read_list, read_scoring
    from ssld.distill.images import check_labelled

    files = read_list(list_file, list_file.parent, classes)
    check_labelled(files, "every image needs one here")
    return files, read_scoring(list_file, files, classes)


def scores_on(
    network: Any, files: FileList, scoring: Scoring, preprocessing: cards.Input, runtime: Runtime
) -> Measured:
    """Return what `measure` says of a network on images that are prepared as `preprocessing` says."""
    from ssld.data import EvalLoader

    shown = replace(preprocessing, resize=preprocessing.size) if scoring.cropped else preprocessing

    def crops(subset: FileList) -> Any:
        return EvalLoader(subset, **vars(shown), batch=64, device=runtime.gpu)

    return scores_of({"student": (network, crops)}, files, scoring, network.num_classes)


def scores_of(
    networks: Mapping[str, tuple[Any, Callable[[Any], Any]]], files: ImageSource, scoring: Scoring, classes: int
) -> Measured:
    """Return what `measure` says of a student, and of its agreement with a teacher where there is one.

    `networks` maps `student`, and perhaps `teacher`, to a network and a function from images to the loader of their
    crops.
    """
    from ssld.distill.evaluate import measure, predict
    from ssld.progress import progress

    def ask(network: Any, crops: Callable[[FileList], Any]) -> Any:
        return lambda part, progress_of_part: predict(network, crops(part), progress_of_part)[0]

    with progress(len(files), "eval") as bar:
        return measure({kind: ask(*pair) for kind, pair in networks.items()}, files, scoring, classes, bar.update)


def standard_error(top1: float, images: int) -> float:
    """Return the standard error, in points, of a top-1 accuracy of `top1` percent on so many images (binomial)."""
    share = top1 / 100
    return round(100 * math.sqrt(share * (1 - share) / images), 3)
