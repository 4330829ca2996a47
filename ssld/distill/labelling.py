"""Where the labels of a distillation come from: the teacher beside the student, or a cache of what it said."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ssld import labels
from ssld.data import FileList, ImageSource, sampler
from ssld.distill.arrays import Array
from ssld.distill.checkpoint import disk_errors
from ssld.distill.images import images_of, train_loader
from ssld.distill.runs import Run, StageRun
from ssld.distill.teachers import SeveralTeachers, Teacher
from ssld.files import json_digest
from ssld.interfaces import Labeller
from ssld.paths import labels_root
from ssld.runtime import versions
from ssld.spec.colours import WHITE


def labeller_of(stage: StageRun, teacher: Teacher | SeveralTeachers) -> Labeller:
    """What labels the batches of a stage; a cache that the recipe asks for is made whole first.

    Raises DataError for a cache that was made with something else, by name.
    """
    if stage.settings.labels is None:
        return teacher.on(stage)
    return labels.CachedLogits(filled_cache(stage, teacher)[0])


def filled_cache(stage: StageRun, teacher: Teacher | SeveralTeachers) -> tuple[labels.Cache, Callable[[], labels.Say]]:
    """The label cache of a stage, made whole, and a function that gets its teacher ready. RunError for a full disk."""
    cache, ask = open_cache(stage, teacher)
    with disk_errors(cache.folder):
        labels.fill(cache, ask, stage.runtime)
    return cache, ask


def open_cache(stage: StageRun, teacher: Teacher | SeveralTeachers) -> tuple[labels.Cache, Callable[[], labels.Say]]:
    """`filled_cache` before it is filled."""
    settings, runtime, classes = stage.settings, stage.runtime, stage.plan.classes
    cached = settings.labels
    assert cached is not None
    images = images_of(stage.run, *settings.data.train)
    about = manifest(stage, teacher, images)
    folder = Path(cached.folder) if cached.folder else caches(stage.run) / json_digest(about)[:16]
    with disk_errors(folder):
        labels.claim(folder, about, runtime)
    alone = replace(runtime, rank=0, world=1)  # a rank sees to whole shards, in the micro-batches of the training
    loader = train_loader(stage, images, alone, settings.optim.accumulate * runtime.world)
    micro = sampler.micro_size(settings.data.batch, settings.optim.accumulate, runtime.world)
    layout = labels.Layout(classes, cached.k or classes)
    cache = labels.Cache(folder, layout, cached.views, len(loader.order(0)), micro)

    def ask() -> labels.Say:
        labeller = teacher.on(stage)

        def say(view: int, numbers: list[int]) -> Iterator[Array]:
            return (batch["teacher"]["logits"].numpy() for batch in labeller.labelled(loader.of_view(view, numbers)))

        return say

    return cache, ask


def caches(run: Run) -> Path:
    """The folder of the caches that name themselves; a smoke run keeps its own."""
    return run.folder / "labels" if run.is_smoke else labels_root()


def manifest(stage: StageRun, teacher: Teacher | SeveralTeachers, images: ImageSource) -> dict[str, Any]:
    """Everything that the labels of a stage depend on."""
    settings, classes, installed = stage.settings, stage.plan.classes, versions()
    data, cached = settings.data, settings.labels
    assert cached is not None
    view = {"size": data.size, "mean": list(data.mean), "std": list(data.std), "interpolation": data.interpolation}
    if data.background != WHITE:  # caches that are older than this key hold
        view["background"] = list(data.background)
    about: dict[str, Any] = {
        "teacher": teacher.identity(),
        "views": {**view, "augment": asdict(data.augment), "seed": cached.seed, "number": cached.views},
        "images": {"number": len(images), **_named(images)},
        "labels": {"classes": classes, "k": cached.k or classes},
        "versions": {package: installed.get(package) for package in ("paddlepaddle", "nvidia-dali-cuda120")},
    }
    # Partners of a mixture are of one micro-batch, and whole batches make an epoch.
    if data.augment.mixup > 0 or data.augment.cutmix > 0:
        micro = sampler.micro_size(data.batch, settings.optim.accumulate, stage.runtime.world)
        about["views"] |= {"batch": data.batch, "mixed": micro}
    return about


def _named(images: ImageSource) -> dict[str, str]:
    """What says which images they are: the paths of listed files, the content of others."""
    if isinstance(images, FileList):
        return {"paths": hashlib.sha256("\n".join(images.paths).encode()).hexdigest()}
    return {"content": images.digest()}
