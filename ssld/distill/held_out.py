"""Hold labelled training images of a recipe out of every stage, and evaluate on them in the place of its own images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssld.config import code
from ssld.config.recipe import Plan
from ssld.data import FileList
from ssld.data.held_out import choose_held_out, contents, positions_without, size_of
from ssld.data.lists import CLASSES, write_list
from ssld.distill.images import file_list
from ssld.distill.runs import Run
from ssld.errors import DataError, RunError
from ssld.files import writing
from ssld.progress import progress

LIST = "held_out.txt"


@dataclass(frozen=True)
class HeldOut:
    """Say which lists take the place of those of a recipe.

    train: maps every training list of the recipe to the one that takes its place, itself where it has none of the
    images. val: the list of the held-out images. images: how many they are; trained: how many labelled ones stay.
    """

    train: Mapping[str, str]
    val: str
    images: int
    trained: int

    def overrides(self, plan: Plan) -> list[str]:
        """Return what makes every stage of a plan train without the held-out images, and be evaluated on them alone."""
        changes = []
        for name, stage in plan.stages.items():
            train = [self.train[listed] for listed in stage.data.train]
            changes.append(f"stages.{name}.data.train={json.dumps(train)}")
            changes.append(f"stages.{name}.data.val={json.dumps(self.val)}")
            changes += [f"stages.{name}.data.test=null"] if stage.data.test else []
        return changes


def hold_out(run: Run, stage: str, folder: Path, share: float, seed: int) -> HeldOut:
    """Choose labelled images of a stage, and write lists without them, and the list of them, into a folder.

    The images are a share of each class of the stage's training lists, see `choose_held_out`. They leave the training
    lists of every stage, the teacher's too, and so do other files with the same bytes, labelled or not. The lists that
    take the place of others are numbered and have their names, `held_out.txt` has the images; the recipe's own
    validation images are not looked at. The same call writes the same bytes.

    Raises DataError where the images of a stage are no list files, where a list or an image cannot be read, and for too
    few labelled images, RunError where a list cannot be written.
    """
    lists = dict.fromkeys(listed for settings in run.plan.stages.values() for listed in settings.data.train)
    if own := [listed for listed in lists if code.is_code(listed)]:
        what = f"{own[0]} is code, and images can be held out of list files alone"
        raise DataError(f"{what}; write the images as files with a list (docs/data.md)")
    images = file_list(run, *run.plan.stages[stage].data.train)
    labelled = images.subset(np.flatnonzero(images.labels >= 0))
    with progress(len(labelled), "look at the labelled images") as bar:
        digests = contents(labelled, bar.update)
    try:
        held = choose_held_out(labelled.labels, digests, share, seed)
    except DataError as error:
        raise DataError(f"stage {stage}: {error}") from None
    leave, sizes = {digests[i] for i in held}, {size_of(labelled, i) for i in held}
    replaced, trained = {}, 0
    with writing(folder, RunError, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / LIST, labelled.subset(held))
        for number, listed in enumerate(lists, 1):
            every = file_list(run, listed)
            stay, file = positions_without(every, leave, sizes), folder / f"{number}-{Path(listed).name}"
            if not len(stay):
                raise DataError(f"{listed}: every image of it would be held out; give more labelled images")
            if len(stay) < len(every):
                _write(file, every.subset(stay))
            replaced[listed] = str(file.absolute()) if len(stay) < len(every) else listed
            if listed in run.plan.stages[stage].data.train:
                trained += int((every.labels[stay] >= 0).sum())
        _copy_names_of_classes(run, stage, folder)
    return HeldOut(replaced, str((folder / LIST).absolute()), len(held), trained)


def _write(file: Path, images: FileList) -> None:
    """Write a list whose paths start from its folder. Links to folders are followed, so `..` leads where it says."""
    start, paths = os.path.realpath(file.parent), []
    for index in range(len(images)):
        folder, name = os.path.split(images.path(index))
        paths.append(os.path.relpath(os.path.join(os.path.realpath(folder), name), start))
    write_list(file, paths, images.labels.tolist())


def _copy_names_of_classes(run: Run, stage: str, folder: Path) -> None:
    """Copy the names of the classes from beside a list, where there are any, so that pages show them."""
    files = [(run.data_root / listed).parent / CLASSES for listed in run.plan.stages[stage].data.train]
    if file := next((file for file in files if file.is_file()), None):
        shutil.copyfile(file, folder / CLASSES)
