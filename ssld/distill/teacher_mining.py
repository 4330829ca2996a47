"""Mining with a real teacher, as `ssld mine` and a step of a recipe ask for it: that of a card, or of a run."""

from __future__ import annotations  # a type of `mine` needs the extra `mine`; every run imports this file

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ssld import mine
from ssld.config.pool import Mine, check_mine
from ssld.data import FileList, class_names, read_list
from ssld.distill import mined_by, scorer
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
    card, file = mined_by.trained(step)
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
        names=class_names(against, classes),
    )
