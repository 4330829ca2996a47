"""Get the labels of a distillation from the teacher beside the student, or from a cache of its logits."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ssld import labels
from ssld.config.keys import digested
from ssld.data import FileList, ImageSource, sampler
from ssld.distill.arrays import Floats
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
    """Return the labeller of the batches of a stage. A cache that the recipe asks for is filled first.

    Raises DataError for a cache that was made with something else, and names the difference.
    """
    if stage.settings.labels is None:
        return teacher.on(stage)
    return labels.CachedLogits(filled_cache(stage, teacher)[0])


def filled_cache(stage: StageRun, teacher: Teacher | SeveralTeachers) -> tuple[labels.Cache, Callable[[], labels.Say]]:
    """Fill the label cache of a stage, and return it with a function that gets its teacher ready.

    Raises RunError when the disk is full.
    """
    cache, ask = open_cache(stage, teacher)
    with disk_errors(cache.folder):
        labels.fill(cache, ask, stage.runtime)
    return cache, ask


def open_cache(stage: StageRun, teacher: Teacher | SeveralTeachers) -> tuple[labels.Cache, Callable[[], labels.Say]]:
    """Open the label cache of a stage without filling it, and return what `filled_cache` returns."""
    settings, runtime, classes = stage.settings, stage.runtime, stage.plan.classes
    cached = settings.labels
    assert cached is not None
    images = images_of(stage.run, *settings.data.train)
    description = manifest(stage, teacher, images)
    folder = Path(cached.folder) if cached.folder else caches(stage.run) / json_digest(description)[:16]
    with disk_errors(folder):
        labels.claim(folder, description, runtime)
    alone = replace(runtime, rank=0, world=1)  # each rank fills whole shards, in the micro-batches of the training
    loader = train_loader(stage, images, alone, settings.optim.accumulate * runtime.world)
    micro = sampler.micro_size(settings.data.batch, settings.optim.accumulate, runtime.world)
    layout = labels.Layout(classes, cached.kept(classes))
    cache = labels.Cache(folder, layout, cached.views, len(loader.order(0)), micro, description)

    def ask() -> labels.Say:
        labeller = teacher.on(stage)

        def say(view: int, numbers: list[int]) -> Iterator[Floats]:
            return (batch["teacher"]["logits"].numpy() for batch in labeller.labelled(loader.of_view(view, numbers)))

        return say

    return cache, ask


def caches(run: Run) -> Path:
    """Return the folder of the caches that name themselves. A smoke run keeps its caches in its own folder."""
    return run.folder / "labels" if run.is_smoke else labels_root()


def manifest(stage: StageRun, teacher: Teacher | SeveralTeachers, images: ImageSource) -> dict[str, object]:
    """Return everything that the labels of a stage depend on."""
    settings, classes, installed = stage.settings, stage.plan.classes, versions()
    data, cached = settings.data, settings.labels
    assert cached is not None
    views: dict[str, object] = {"size": data.size, "mean": list(data.mean), "std": list(data.std)}
    views["interpolation"] = data.interpolation
    if data.background != WHITE:  # older caches do not have this key and stay valid
        views["background"] = list(data.background)
    views |= {"augment": digested(data.augment), "seed": cached.seed, "number": cached.views}
    # An image is mixed with one of the same micro-batch, and an epoch consists of whole batches.
    if data.augment.mixup > 0 or data.augment.cutmix > 0:
        micro = sampler.micro_size(data.batch, settings.optim.accumulate, stage.runtime.world)
        views |= {"batch": data.batch, "mixed": micro}
    return {
        "teacher": teacher.identity(),
        "views": views,
        "images": {"number": len(images), **_named(images)},
        "labels": {"classes": classes, "k": cached.kept(classes)},
        "versions": {package: installed.get(package) for package in ("paddlepaddle", "nvidia-dali-cuda120")},
    }


def _named(images: ImageSource) -> dict[str, str]:
    """Return what says which images these are: the paths of listed files, or the content of other images."""
    if isinstance(images, FileList):
        return {"paths": hashlib.sha256("\n".join(images.paths).encode()).hexdigest()}
    return {"content": images.digest()}
