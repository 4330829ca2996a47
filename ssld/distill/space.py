"""Estimate what a run writes, and check before it begins that its disks have room for that."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from paddle import nn

from ssld import labels
from ssld.config import cost
from ssld.config.recipe import Plan
from ssld.distill.images import images_of
from ssld.distill.labelling import caches
from ssld.distill.networks import build, build_peer
from ssld.distill.reuse import lenders
from ssld.distill.runs import Run, StageRun, damage
from ssld.errors import RunError
from ssld.files import existing

PLENTY = 2  # where so many times the bytes are free that the cards let one expect, no network is made to count them


def check_space(run: Run, stages: Iterable[StageRun]) -> None:
    """Raise RunError where less is free than these stages need.

    Networks of the zoo are counted by their cards where that leaves no doubt, because making a large one takes seconds.
    """
    to_train = list(stages)
    if not to_train:
        return
    guess = sum(cost.checkpoint_bytes(run.plan, stage.settings) for stage in to_train) if _has_cards(run.plan) else None
    of_caches = _caches(to_train)
    if guess is not None and _fits({run.folder: PLENTY * guess, **of_caches}) is None:
        return
    sizes = {name: _size(run.plan, name) for name in {stage.settings.network for stage in to_train}}
    writes = sum(
        max(0, stage_bytes(stage, *_with_peers(stage, sizes[stage.settings.network])) - held(stage.folder))
        for stage in to_train
    )
    lacking = _fits({run.folder: writes, **of_caches})
    if lacking:
        folder, free, needed = lacking
        what = "checkpoints and results" if folder == run.folder else "labels"
        how = "choose another --out" if folder == run.folder else "set SSLD_LABELS to another folder"
        raise RunError(f"{folder}: {_mega(free)} free, and {what} take {_mega(needed)}; free some space, or {how}")


def stage_bytes(stage: StageRun, state: int, trained: int) -> int:
    """Return the bytes that a stage takes: its newest checkpoints, one that is being written, and its result.

    Of a stage that is taken over from a run beside this one it is the result alone. `state` is the number of values of
    its networks, and `trained` that of their parameters with a gradient. Layers that losses own are left out, and for a
    stage that trains the head alone what its optimiser keeps.
    """
    if not all(damage(folder, stage.digest) for folder in lenders(stage)):
        return cost.FLOAT * state
    optim = stage.settings.optim
    slots = cost.SLOTS[optim.algorithm] * trained if stage.settings.train == "all" else 0
    checkpoint = state * (1 + bool(optim.ema)) + slots
    return cost.FLOAT * ((cost.CHECKPOINTS + 1) * checkpoint + state)


def held(folder: Path) -> int:
    """Return the bytes of the files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0


def _has_cards(plan: Plan) -> bool:
    trained = (network for stage in plan.stages.values() for network in cost.networks_of(plan, stage))
    return all(map(cost.card_of, trained))


def _size(plan: Plan, name: str) -> tuple[int, int]:
    """Return how many values a network of the plan has, and how many of them are parameters with a gradient."""
    size = next(stage.data.size for stage in plan.stages.values() if stage.network == name)
    return _counted(build(plan, name, size))


def _with_peers(stage: StageRun, size: tuple[int, int]) -> tuple[int, int]:
    """Return the numbers of `_size` of a stage's own network with those of its peers."""
    peers = [_counted(build_peer(stage, name, stage.settings.data.size)) for name in stage.settings.peers]
    return size[0] + sum(state for state, _ in peers), size[1] + sum(trained for _, trained in peers)


def _counted(network: nn.Layer) -> tuple[int, int]:
    state = sum(int(value.size) for value in network.state_dict().values())
    return state, sum(int(parameter.size) for parameter in network.parameters() if parameter.trainable)


def _caches(stages: Iterable[StageRun]) -> dict[Path, int]:
    """Return for each folder of label caches the bytes that it lacks at least."""
    whole: dict[Path, int] = defaultdict(int)
    for stage in stages:
        if cached := stage.settings.labels:
            record = labels.Layout(stage.plan.classes, cached.k or stage.plan.classes).size
            images = len(images_of(stage.run, *stage.settings.data.train))
            folder = Path(cached.folder) if cached.folder else caches(stage.run)
            whole[folder] = max(whole[folder], cached.views * images * record)  # stages may share a cache
    return {folder: max(0, size - held(folder)) for folder, size in whole.items()}


def _fits(needed: dict[Path, int]) -> tuple[Path, int, int] | None:
    """Return the folder with what is free on its disk and what is needed there, where that is more, or None."""
    of_disk: dict[int, int] = defaultdict(int)
    for folder, size in needed.items():
        place = existing(folder)
        disk = os.stat(place).st_dev
        of_disk[disk] += size
        usage = shutil.disk_usage(place)
        if usage.total and usage.free < of_disk[disk]:  # some network file systems say nothing
            return folder, usage.free, of_disk[disk]
    return None


def _mega(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
