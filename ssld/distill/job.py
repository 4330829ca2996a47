"""Describe what a stage works with beside its networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssld.config.recipe import Stage
from ssld.distill.arrays import Array, Floats, Numbers
from ssld.interfaces import Evaluator, Loader, Recorder
from ssld.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Job:
    """Hold what the training of one stage needs beside its networks.

    `name` and `stage` come from the plan, and so does `seed`. `folder` is where checkpoints are saved. `track` keeps
    the numbers; it is None for a job that logs nothing. `train` and `val` load the images of this rank. `classes` is
    the number of classes of the recipe. `labels`, int64 [images], has the label of every training image, -1 where an
    image has none. `norm_images` are batches float32 [n, 3, S, S], from which batch norms get their statistics after
    the last step. `helpers` maps the path of a layer of a loss, such as `ft.paraphraser`, to the arrays that it begins
    with, by the keys of its state. `digest` is that of the stage, which its checkpoints name.
    """

    name: str
    stage: Stage
    folder: Path
    seed: int
    runtime: Runtime
    track: Recorder | None
    train: Loader
    val: Evaluator | None
    classes: int
    labels: Numbers = field(default_factory=lambda: np.empty(0, np.int64))
    norm_images: Sequence[Floats] = ()
    helpers: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    digest: str = ""
