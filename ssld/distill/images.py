"""Load the images of a run: those of its lists and of its own data sets, with the loaders of its stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import numpy as np

from ssld.config import code
from ssld.config.cards import Input
from ssld.config.mine_step import LIST
from ssld.config.recipe import Data, Stage
from ssld.data import (
    EvalLoader,
    FileList,
    FurtherView,
    ImageSource,
    Loader,
    Views,
    class_names,
    from_samples,
    read_list,
    refuse_scoring,
    sampler,
)
from ssld.data.lists import CLASSES, compare_classes, read_names
from ssld.data.sources import joined
from ssld.distill.arrays import Floats, Numbers
from ssld.distill.runs import Run, StageRun
from ssld.errors import DataError, RunError, some
from ssld.files import sha256
from ssld.losses.base import unlabelled_options
from ssld.progress import note
from ssld.runtime import Runtime, seed_of
from ssld.spec.colours import Colour
from ssld.spec.ranges import Deviations, Means


def images_of(run: Run, *names: str) -> ImageSource:
    """Return the images that these values of `data.train` or `data.val` name, one set after the other.

    A name is a list file under the data folder, whose paths are relative to the folder of the list, or something in a
    Python file of the recipe (`data.py:Digits`), see `from_samples`. Raises DataError for a name that is neither.
    """
    plan, files, own_images = run.plan, list[str](), list[ImageSource]()
    for name in names:
        if code.is_code(name):
            own_images.append(_own_images(name, plan.code[code.split(name)[0]], plan.classes))
        else:
            files.append(name)
    if not own_images:
        return file_list(run, *files)
    by_list: dict[str, ImageSource] = {name: file_list(run, name) for name in files}
    next_own = iter(own_images)
    return joined([next(next_own) if code.is_code(name) else by_list[name] for name in names])


@lru_cache(maxsize=8)
def _own_images(name: str, digest: str, classes: int) -> ImageSource:
    """Return a data set of one's own, which is asked for its samples once. `digest` is that of its file."""
    return from_samples(code.find(name, {code.split(name)[0]: digest}), classes=classes, name=name)


def file_list(run: Run, *names: str) -> FileList:
    """Return the images of one or more list files under the data folder.

    The paths in a list are relative to its folder.
    """
    root = run.data_root
    lists = [(Path(name).parent, _read_list(root / name, run.plan.classes)) for name in names]
    paths = [os.path.join(folder, path) for folder, files in lists for path in files.paths]
    return FileList(paths, np.concatenate([files.labels for _, files in lists]), str(root))


def _read_list(file: Path, classes: int) -> FileList:
    """Read a list file. A list of millions of lines is read once, and again only after it has changed."""
    stamp = (file.stat().st_mtime_ns, file.stat().st_size) if file.is_file() else None
    return _read_once(file, classes, stamp)


@lru_cache(maxsize=8)
def _read_once(file: Path, classes: int, stamp: object) -> FileList:
    return read_list(file, file.parent, classes)


def content_of(run: Run, name: str) -> str:
    """Return the sha256 that says which images a value of `data.train` or `data.val` names.

    It covers the bytes of a list file, or the images and labels of a data set of one's own. Raises DataError for what
    cannot be read.
    """
    if code.is_code(name):
        return _own_content(name, run.plan.code[code.split(name)[0]], run.plan.classes)
    file = run.data_root / name
    try:
        return sha256(file)
    except OSError as error:
        what = f"cannot be read ({error.strerror}); check the path or run `ssld data prepare`"
        raise DataError(f"{file}: {what}") from None


@lru_cache(maxsize=8)
def _own_content(name: str, digest: str, classes: int) -> str:
    """Return the digest of a data set, which reads every image once in a process. `digest` is that of its file."""
    return _own_images(name, digest, classes).digest()


def class_names_of(run: Run, name: str) -> list[str]:
    """Return the names of the classes of the images that a value of `data.val` names, or [] where they are not known.

    The names of a list are in the classes.txt beside it; a data set of one's own has them in an attribute
    `class_names`.
    """
    if not code.is_code(name):
        return list(class_names(run.data_root / name, run.plan.classes))
    names = getattr(code.find(name, run.plan.code), "class_names", ())
    return [str(class_name) for class_name in names] if len(names) == run.plan.classes else []


def check_data(run: Run) -> None:
    """Read the images of every stage before the first step, so that the last stage does not fail after days.

    Raises DataError, which names the stage, for what `images_of` refuses, for too few images for a batch, for a batch
    that does not divide among the ranks, and for images without a label where a loss learns from labels, or none with
    one. Raises RunError for mixed precision without a GPU.
    """
    for name, stage in run.plan.stages.items():
        check_precision(stage, run.runtime, f"stages.{name}")
        try:
            images = images_of(run, *stage.data.train)
            if not code.is_code(stage.data.val):
                refuse_scoring(run.data_root / stage.data.val)
            check_images(stage, images, images_of(run, stage.data.val), run.runtime)
            if (images.labels >= 0).any():
                _compare_classes(run, stage.data.val, stage.data.train)
        except DataError as error:
            raise DataError(f"stage {name}: {error}") from None
    if run.plan.test:
        check_test(run, run.plan.test)
    if run.runtime.main:
        _tell_other_classes(run)


def _tell_other_classes(run: Run) -> None:
    """Write a line where the classes.txt beside a validation list names more or fewer classes than the recipe has.

    It is no error: a list may lack the last classes, and a network may have outputs for classes to come.
    """
    lists = {stage.data.val for stage in run.plan.stages.values() if not code.is_code(stage.data.val)}
    for file in sorted({(run.data_root / name).parent / CLASSES for name in lists}):
        names = read_names(file)
        if names is not None and len(names) != run.plan.classes:
            note(f"{file}: names {len(names)} classes, and the recipe has {run.plan.classes} (classes: ...)")


def check_test(run: Run, test: str) -> None:
    """Check that a student can be tested on these images, and that no stage is trained or evaluated on one of them.

    Images are told apart by their paths. Raises DataError otherwise.
    """
    if not code.is_code(test):
        refuse_scoring(run.data_root / test)
    images = images_of(run, test)
    check_labelled(images, "every test image needs one")
    _compare_classes(run, test, [run.last.settings.data.val])
    files = _files_of(images)
    for name, stage in run.plan.stages.items() if files else ():
        for listed in dict.fromkeys((*stage.data.train, stage.data.val)):
            if shared := sorted(files & _files_of(images_of(run, listed))):
                what = f"{len(shared):,} of its {len(images):,} images are in {listed} of stage {name} too"
                raise DataError(f"{test}: {what} ({some(shared)}); test with images that no stage reads")


def _files_of(images: ImageSource) -> set[str]:
    """Return the paths of listed images; of others there are none."""
    return {os.path.normpath(images.path(i)) for i in range(len(images))} if isinstance(images, FileList) else set()


def steps_of(run: Run) -> dict[str, int]:
    """Return the number of steps of each stage."""
    numbers = {}
    for name, stage in run.plan.stages.items():
        images = len(images_of(run, *stage.data.train))
        numbers[name] = sampler.steps(stage.epochs, sampler.steps_per_epoch(images, stage.data.batch))
    return numbers


def check_precision(stage: Stage, runtime: Runtime, where: str) -> None:
    """Check that a stage with mixed precision has a GPU, and raise RunError where it has none.

    `where` is the path of the stage.
    """
    if stage.optim.amp != "off" and runtime.gpu is None:
        raise RunError(f"{where}.optim.amp: {stage.optim.amp} needs a GPU; set {where}.optim.amp=off")


def check_images(stage: Stage, train: ImageSource, val: ImageSource, runtime: Runtime) -> None:
    """Check that a stage can be trained with these images and evaluated on them, see `check_data`. Raises DataError."""
    sampler.steps_per_epoch(len(train), stage.data.batch)
    sampler.micro_size(stage.data.batch, stage.optim.accumulate, runtime.world)
    check_labelled(val, "every validation image needs one")
    for name, term in stage.loss.items():
        if "label" not in term.reads.batch:
            continue
        rule, others = term.loss.on_unlabelled(), [kind for kind in unlabelled_options(term.loss) if kind != "error"]
        if rule == "refuse":
            how = f"set its unlabelled to {' or '.join(others)}" if others else "use one that learns from the teacher"
            check_labelled(train, f"the loss {name} learns from labels; {how}, or give labelled images alone")
        if rule == "ignore" and not (train.labels >= 0).any():
            what = "no training image has a label, and it ignores such images, so it trains nothing"
            raise DataError(f"loss {name}: {what}; drop it, or give labelled images")


def _compare_classes(run: Run, val: str, train: Sequence[str]) -> None:
    """Check that the lists of training and of validation images stand beside the same names of classes.

    Raises DataError where they do not.
    """
    for name in train:
        if not (code.is_code(name) or code.is_code(val)):
            compare_classes(run.data_root / val, run.data_root / name)


def check_lists(run: Run) -> None:
    """Check the lists that no mining of the recipe makes, before a mining begins that may take weeks.

    Raises DataError, which names the stage.
    """
    checked = {f"{name}/{LIST}" for name in run.plan.prepare or {}}  # the loop adds the lists that it has checked
    for name, stage in run.plan.stages.items():
        named = {*stage.data.train, stage.data.val, *filter(None, [stage.data.test])}
        for list_name in sorted(named - checked):
            try:
                images_of(run, list_name)
            except DataError as error:
                raise DataError(f"stage {name}: {error}") from None
            checked.add(list_name)


def check_labelled(images: ImageSource, advice: str) -> None:
    """Check that every image has a label. Raises DataError, which names the first image without one."""
    if (images.labels < 0).any():
        raise DataError(f"{images.name(int((images.labels < 0).argmax()))}: has no label; {advice}")


def loaders(stage: StageRun) -> tuple[Loader, EvalLoader]:
    """Return the loaders of the training and the validation images of a stage, for this rank's share of them."""
    settings = stage.settings
    images = images_of(stage.run, *settings.data.train)
    return train_loader(stage, images, stage.runtime, settings.optim.accumulate), eval_loader(stage)


def train_loader(stage: StageRun, images: ImageSource, runtime: Runtime, accumulate: int) -> Loader:
    """Return the loader of the training images of a stage: fresh views in every epoch, or those of its label cache."""
    return random_crops(stage.settings, images, runtime, accumulate, seed_of(stage.plan.seed, stage.name))


def random_crops(settings: Stage, images: ImageSource, runtime: Runtime, accumulate: int, seed: int) -> Loader:
    """Return the loader of images as a stage with these settings is trained with them."""
    data, cached = settings.data, settings.labels
    return Loader(
        images,
        size=data.size,
        batch=data.batch,
        accumulate=accumulate,
        augment=data.augment,
        seed=seed,
        views=Views(seed_of("labels", cached.seed), cached.views) if cached else None,
        further={name: FurtherView(view, seed_of(seed, "view", name)) for name, view in data.further.items()},
        turned=data.turned,
        **_pipeline(data, runtime),
    )


def eval_loader(stage: StageRun, take: int | Numbers | None = None, data: Data | None = None) -> EvalLoader:
    """Return the loader of validation images with the geometry of the stage, or with that of `data`.

    `take` is the number of images of an even selection, or the positions of the images.
    """
    data = data or stage.settings.data
    images = images_of(stage.run, data.val)
    check_labelled(images, "every validation image needs one")
    if isinstance(take, int):
        take = sampler.evenly(take, len(images))
    return centre_crops(data, images if take is None else images.subset(take), stage.runtime)


def shown_as(data: Data, shown: Input) -> Data:
    """Return the same images as another network expects them: their size, normalisation and background."""
    geometry = replace(data, size=shown.size, eval_size=shown.size, eval_resize=shown.resize)
    return replace(geometry, mean=shown.mean, std=shown.std, background=shown.background)


def centre_crops(data: Data, images: ImageSource, runtime: Runtime) -> EvalLoader:
    """Return the loader of images with the geometry of an evaluation."""
    return EvalLoader(images, size=data.crop, resize=data.resize, batch=data.eval_batch, **_pipeline(data, runtime))


def crops(stage: StageRun, number: int) -> list[Floats]:
    """Return batches float32 [n, 3, S, S] of an even selection of the stage's training images.

    They are cropped as in an evaluation. Every rank gets all of them, so that what is set from them is the same
    everywhere.
    """
    data = stage.settings.data
    images = images_of(stage.run, *data.train)
    selection = images.subset(sampler.evenly(number, len(images)))
    loader = centre_crops(data, selection, stage.run.alone.runtime)
    return [batch["image"].numpy().copy() for batch in loader.batches()]


class _Pipeline(TypedDict):
    """Hold what the loaders of training and of evaluation images are told alike."""

    mean: Means
    std: Deviations
    interpolation: str
    background: Colour
    threads: int
    rank: int
    world: int
    device: int | None


def _pipeline(data: Data, runtime: Runtime) -> _Pipeline:
    return {
        "mean": data.mean,
        "std": data.std,
        "interpolation": data.interpolation,
        "background": data.background,
        "threads": data.threads,
        "rank": runtime.rank,
        "world": runtime.world,
        "device": runtime.gpu,
    }
