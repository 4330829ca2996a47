"""Where the labels of a distillation come from: the teacher beside the student, or a cache of what it said."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ssld import labels
from ssld.config.recipe import Plan
from ssld.data import FileList, sampler
from ssld.distill.checkpoint import disk_errors
from ssld.distill.engine import EngineLogits
from ssld.distill.setup import Teacher, file_list, stage_folder, train_loader
from ssld.distill.teacher import TeacherLogits
from ssld.files import json_digest
from ssld.paths import labels_root
from ssld.runtime import Runtime, versions
from ssld.spec.colours import WHITE


def logits_for(
    plan: Plan, name: str, teacher: Teacher, out: Path, root: Path, here: Runtime
) -> TeacherLogits | EngineLogits | labels.CachedLogits:
    """What labels the batches of a stage; a cache that the recipe asks for is made whole first.

    Raises DataError for a cache that was made with something else, by name.
    """
    stage = plan.stages[name]
    if stage.labels is None:
        return teacher.on(stage, stage_folder(plan, name, out), here)
    return labels.CachedLogits(filled_cache(plan, name, teacher, out, root, here)[0])


def filled_cache(
    plan: Plan, name: str, teacher: Teacher, out: Path, root: Path, here: Runtime
) -> tuple[labels.Cache, Callable[[], labels.Say]]:
    """The label cache of a stage, made whole, and a function that gets its teacher ready. RunError for a full disk."""
    cache, ask = open_cache(plan, name, teacher, out, root, here)
    with disk_errors(cache.folder):
        labels.fill(cache, ask, here)
    return cache, ask


def open_cache(
    plan: Plan, name: str, teacher: Teacher, out: Path, root: Path, here: Runtime
) -> tuple[labels.Cache, Callable[[], labels.Say]]:
    """`filled_cache` before it is filled."""
    stage = plan.stages[name]
    assert stage.labels is not None
    files = file_list(plan, root, *stage.data.train)
    about = manifest(plan, name, teacher, files, here)
    folder = Path(stage.labels.folder) if stage.labels.folder else caches(plan, out) / json_digest(about)[:16]
    with disk_errors(folder):
        labels.claim(folder, about, here)
    alone = replace(here, rank=0, world=1)  # a rank sees to whole shards, in the micro-batches of the training
    loader = train_loader(plan, name, files, alone, stage.optim.accumulate * here.world)
    micro = sampler.micro_size(stage.data.batch, stage.optim.accumulate, here.world)
    layout = labels.Layout(plan.classes, stage.labels.k or plan.classes)
    cache = labels.Cache(folder, layout, stage.labels.views, len(loader.order(0)), micro)

    def ask() -> labels.Say:
        logits = teacher.on(stage, stage_folder(plan, name, out), here)

        def say(view: int, numbers: list[int]) -> Iterator[np.ndarray]:
            return (batch["teacher"]["logits"].numpy() for batch in logits.labelled(loader.of_view(view, numbers)))

        return say

    return cache, ask


def caches(plan: Plan, out: Path) -> Path:
    """The folder of the caches that name themselves; a smoke run keeps its own."""
    return out / "labels" if plan.scope == "smoke" else labels_root()


def manifest(plan: Plan, name: str, teacher: Teacher, files: FileList, here: Runtime) -> dict[str, Any]:
    """Everything that the labels of a stage depend on."""
    stage, found = plan.stages[name], versions()
    assert stage.labels is not None
    data, mixes = stage.data, stage.data.augment.mixup > 0 or stage.data.augment.cutmix > 0
    seen = {"size": teacher.size, "mean": list(teacher.mean), "std": list(teacher.std)}
    view = {"size": data.size, "mean": list(data.mean), "std": list(data.std), "interpolation": data.interpolation}
    if data.background != WHITE:  # caches that are older than this key hold
        view["background"] = list(data.background)
    about: dict[str, Any] = {
        "teacher": {"weights": weights_digest(teacher.network), "norm": teacher.norm, **seen},
        "views": {**view, "augment": asdict(data.augment), "seed": stage.labels.seed, "number": stage.labels.views},
        "images": {"number": len(files), "paths": hashlib.sha256("\n".join(files.paths).encode()).hexdigest()},
        "labels": {"classes": plan.classes, "k": stage.labels.k or plan.classes},
        "versions": {package: found.get(package) for package in ("paddlepaddle", "nvidia-dali-cuda120")},
    }
    if mixes:  # partners are of one micro-batch, and whole batches make an epoch
        micro = sampler.micro_size(data.batch, stage.optim.accumulate, here.world)
        about["views"] |= {"batch": data.batch, "mixed": micro}
    return about


def weights_digest(network: nn.Layer) -> str:
    """sha256 over the names and bytes of a network's parameters and statistics."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()
