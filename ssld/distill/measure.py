"""How many images a second this machine gets through: a few steps on images that are only numbers.

The networks, the loss, the optimizer and the teacher are those of the plan; weights are fresh. There is no input
pipeline, no evaluation and no checkpoint.
"""

import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle

from ssld import models, quantize
from ssld.config.pool import Mine
from ssld.config.recipe import Plan, Stage
from ssld.distill import mined_by, scorer
from ssld.distill.engine import drawn
from ssld.distill.job import Job
from ssld.distill.setup import Teacher, build, teacher_card
from ssld.distill.stage import train_step
from ssld.distill.state import TrainState, set_mode
from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs
from ssld.runtime import Runtime

MACS_CPU, MACS_GPU = 100e9, 4e12  # multiply-adds of a step, about: enough to fill the device, done in a second or some
Batches = Generator[Batch, None, None]
SECONDS = 2.0  # that are timed at least, in whole steps, after one that warms up


def at_a_time(macs: float, most: int, here: Runtime) -> int:
    """Images of a measured step that costs `macs` an image: 2 to `most`, as a batch norm needs 2."""
    return min(most, max(2, round((MACS_CPU if here.gpu is None else MACS_GPU) / macs)))


def stage_rate(plan: Plan, name: str, images: int, here: Runtime) -> float:
    """Images a second of a stage's training steps of so many images, its teacher's forward pass included.

    With a label cache the logits are at hand. RunError for mixed precision without a GPU.
    """
    stage = plan.stages[name]
    if stage.optim.amp != "off" and here.gpu is None:
        raise RunError(f"stage {name}: optim.amp {stage.optim.amp} needs a GPU; measure on one, or give --rate")
    stage = replace(stage, data=replace(stage.data, batch=images), optim=replace(stage.optim, accumulate=1))
    with tempfile.TemporaryDirectory(prefix="ssld-measure-") as scratch, paddle.utils.unique_name.guard():
        job = Job(
            name=name, stage=stage, folder=Path(scratch), seed=plan.seed, runtime=here, track=None,
            train=SimpleNamespace(steps_per_epoch=1), val=None, classes=plan.classes,
        )  # fmt: skip
        network = build(plan, stage.network, stage.data.size)
        if stage.quantize:
            quantize.quantise(network)
        state = TrainState(job, network)
        set_mode(network, stage.train)
        with closing(_batches(plan, stage, images, here)) as batches:

            def step() -> None:
                float(train_step(state, batches, 0)[0]["loss"])  # reading it waits for the device

            return images / _seconds(step)


def teacher_rate(plan: Plan, name: str, images: int, here: Runtime) -> float:
    """Images a second of the forward pass that fills the label cache of a stage."""
    stage = plan.stages[name]
    stage = replace(stage, data=replace(stage.data, batch=images), optim=replace(stage.optim, accumulate=1))
    with closing(_labelled(plan, stage, _batch(plan, stage, images), here)) as batches:
        return images / _seconds(lambda: next(batches)["teacher"]["logits"].numpy())


def mine_rate(step: Mine, images: int, here: Runtime) -> float:
    """Images a second of a mining's scores; decoding and the comparison with the validation images are left out."""
    card, classes = mined_by.known(step)
    network = models.create(card.arch, num_classes=classes, in_size=card.input.size)
    ask = scorer.probabilities(network, card, step.engine, images, here)
    given = drawn(card.input.size, images)
    return images / _seconds(lambda: ask(given))


def _seconds(step: Callable[[], Any]) -> float:
    """Of one step, on average, the first left out."""
    step()
    start, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start < SECONDS:
        step()
        count += 1
    return (time.perf_counter() - start) / count


def _batch(plan: Plan, stage: Stage, images: int) -> Batch:
    label = paddle.to_tensor(np.random.default_rng(0).integers(0, plan.classes, images))
    return {"image": paddle.to_tensor(drawn(stage.data.size, images)), "label": label}


def _batches(plan: Plan, stage: Stage, images: int, here: Runtime) -> Batches:
    """The same batch again and again, with what the losses ask for."""
    batch = _batch(plan, stage, images)
    if stage.is_taught and stage.labels is None:
        yield from _labelled(plan, stage, batch, here)
    yield from repeat({**batch, "teacher": Outputs({"logits": paddle.randn([images, plan.classes])})})


def _labelled(plan: Plan, stage: Stage, batch: Batch, here: Runtime) -> Batches:
    """The batch again and again, each time with the logits of a teacher with fresh weights."""
    given: Any
    if not stage.asks_teacher:  # but from the float network that a stage in int8 starts from
        given, kind, norm, engine = plan.stages[stage.init].data, "student", "running", "eager"
    else:
        assert plan.teacher is not None
        given = plan.stages[plan.teacher.stage].data if plan.teacher.stage else teacher_card(plan).input
        kind, norm, engine = "teacher", plan.teacher.norm, plan.teacher.engine
    teacher = Teacher(build(plan, kind, given.size), norm, engine, given.size, given.mean, given.std)
    with tempfile.TemporaryDirectory(prefix="ssld-measure-") as scratch:
        yield from teacher.on(stage, Path(scratch), here).labelled(repeat(batch))
