"""What a stage works with, beside its networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssld.config.recipe import Stage
from ssld.distill.arrays import Array
from ssld.interfaces import Evaluator, Loader, Recorder
from ssld.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Job:
    """name, stage: of the plan. folder: where checkpoints go. seed: of the plan. track: who keeps the numbers, None for
    a job that logs nothing. train, val: the images of this rank. classes: of the recipe. labels: int64 [images], the
    label of every training image, -1 where it has none. norm_images: batches float32 [n, 3, S, S] that give batch norms
    their statistics after the last step."""

    name: str
    stage: Stage
    folder: Path
    seed: int
    runtime: Runtime
    track: Recorder | None
    train: Loader
    val: Evaluator | None
    classes: int
    labels: Array = field(default_factory=lambda: np.empty(0, np.int64))
    norm_images: Sequence[Array] = ()
