"""`ssld mine`, and the same as a step of a recipe: a teacher of a card, or of a run, put to work on a pool."""

from __future__ import annotations  # a type of `mine` needs the extra `mine`; every run imports this file

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssld import mine
from ssld.config import cards, parse
from ssld.config.cards import Input
from ssld.config.pool import Mine, check_mine
from ssld.config.recipe import Plan
from ssld.data import FileList, read_list
from ssld.distill import scorer
from ssld.distill.setup import is_done, stage_folder
from ssld.errors import RunError
from ssld.runtime import Runtime, barrier, cores


def mine_pool(
    step: Mine,
    root: Path,
    out: Path,
    here: Runtime,
    part: tuple[int, int] = (1, 1),
    threads: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """What `mine.mine` returns, for paths of `step` relative to `root`. `threads`: None = one a core.

    With several ranks each scores its share of the shards; rank 0 chooses.
    """
    check_mine(step, "")
    against, quiet = root / step.against, quiet or not here.main
    files, shards = read_list(against, against.parent), mine.shards([root / source for source in step.sources])
    job = mine.Job(
        shards=shards,
        teacher=_teacher(step, files, against, here, quiet),
        against=files,
        against_list=against,
        options=mine.Options(k=step.k, min_score=step.min_score, assign=step.assign),
        out=out,
        sources=[os.path.abspath(root / source) for source in step.sources],
        part=part,
        threads=threads or max(1, cores() // here.world),
        quiet=quiet,
    )
    if here.world == 1:
        return mine.mine(job)
    if here.main:
        mine.open_folder(job)
    barrier(here)
    mine.mine(replace(job, part=(here.rank + 1, here.world)))
    barrier(here)
    return mine.mine(job) if here.main else {}


def _teacher(step: Mine, files: FileList, against: Path, here: Runtime, quiet: bool) -> mine.Teacher:
    """The teacher of a step; its network is loaded, and measured on the validation images, when it is first asked."""
    card, file = of_run(step) if (Path(step.teacher) / "plan.yaml").is_file() else of_card(step)
    classes, digest = scorer.classes_of(file), scorer.weights_digest(file)

    def ready() -> Callable[[np.ndarray], np.ndarray]:
        network = scorer.load_network(card, file)
        scorer.check_teacher(step.teacher, card, network, files, step.gate, here, quiet)
        return scorer.probabilities(network, card, step.engine, mine.BATCH, here)

    return mine.Teacher(
        classes=classes,
        input=card.input,
        ready=ready,
        facts={"name": step.teacher, "arch": card.arch, "weights": digest, "engine": step.engine},
        names=_class_names(against, classes),
    )


@dataclass(frozen=True)
class OfRun:
    """The teacher that a run trained, as `scorer.Trained`."""

    arch: str
    top1: float
    input: Input


def of_card(step: Mine) -> tuple[scorer.Trained, Path]:
    """The card of a step's teacher and its weights file."""
    card = cards.find_teacher(step.teacher)
    return card, scorer.teacher_weights(step.teacher, card, step.weights)


def of_run(step: Mine) -> tuple[scorer.Trained, Path]:
    """The same of a run folder. RunError where the run has trained no teacher, and for weights beside its own."""
    folder = Path(step.teacher)
    plan = parse.build(Plan, parse.read_yaml(folder / "plan.yaml"), str(folder / "plan.yaml"))
    name = plan.teacher.stage if plan.teacher else None
    if name is None or not is_done(plan, name, folder):
        raise RunError(f"teacher {folder}: this run has trained no teacher; give another run, or a card")
    if step.weights:
        raise RunError(f"teacher {folder}: a run has its own weights; leave weights out, or give a card")
    assert plan.teacher is not None
    assert plan.teacher.arch is not None
    data, stage = plan.stages[name].data, stage_folder(plan, name, folder)
    top1 = json.loads((stage / "stage.json").read_text(encoding="utf-8"))["top1"]
    given = Input(size=data.crop, resize=data.resize, mean=data.mean, std=data.std)
    return OfRun(plan.teacher.arch, top1, given), stage / "model.safetensors"


def _class_names(listed: Path, classes: int) -> list[str]:
    """Names from the classes.txt beside a list, when it has as many; else none."""
    file = listed.parent / "classes.txt"
    names = file.read_text(encoding="utf-8").split("\n")[:classes] if file.is_file() else []
    return names if len(names) == classes and all(names) else []
