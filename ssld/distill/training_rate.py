"""Measure how many images a second this machine trains: a few steps on images of random numbers.

The networks, the loss, the optimizer and the teacher are those of the plan; weights are fresh. There is no input
pipeline, no evaluation and no checkpoint.
"""

import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import repeat

from ssld import models
from ssld.config.mine_step import Mine
from ssld.config.recipe import Plan
from ssld.distill import teacher_mining
from ssld.distill.engine import drawn
from ssld.distill.stage import train_step
from ssld.distill.teachers import fresh_teacher, load_teacher
from ssld.distill.trial import drawn_batch, on_trial, small
from ssld.errors import RunError
from ssld.runtime import Runtime

MACS_CPU, MACS_GPU = 100e9, 4e12  # about so many multiply-adds of a step fill the device for a second or a few
SECONDS = 2.0  # least time of the measured steps, which are whole and follow one that warms up


def at_a_time(macs: float, most: int, runtime: Runtime) -> int:
    """Return the number of images of a measured step that costs `macs` an image.

    It is at least 2, which a batch norm needs, and at most `most`.
    """
    return min(most, max(2, round((MACS_CPU if runtime.gpu is None else MACS_GPU) / macs)))


def stage_rate(plan: Plan, name: str, images: int, runtime: Runtime) -> float:
    """Measure the images a second of a stage's training steps of so many images, with its teacher's forward pass.

    With a label cache the logits are ready. Raises RunError for mixed precision without a GPU.
    """
    amp = plan.stages[name].optim.amp
    if amp != "off" and runtime.gpu is None:
        raise RunError(f"stage {name}: optim.amp {amp} needs a GPU; measure on one, or give --rate")
    with on_trial(plan, name, images, runtime) as (state, batches):

        def step() -> None:
            float(train_step(state, batches, 0)[0]["loss"])  # reading the loss waits for the device

        return images / _seconds(step)


def teacher_rate(plan: Plan, name: str, images: int, runtime: Runtime) -> float:
    """Measure the images a second of the forward pass that fills the label cache of a stage."""
    with small(plan, name, images, runtime) as run:
        stage = run.stage(name)
        batch = drawn_batch(plan, stage.settings.data, images)
        batches = fresh_teacher(stage).on(stage).labelled(repeat(batch), nullcontext)
        return images / _seconds(lambda: next(batches)["teacher"]["logits"].numpy())


def mine_rate(plan: Plan, step: Mine, images: int, runtime: Runtime) -> float:
    """Measure the images a second of the scores of a mining.

    Decoding and the comparison with the validation images are left out.
    """
    if step.teacher in plan.all_teachers:
        with small(plan, plan.last, images, runtime) as run:
            teacher = load_teacher(run, step.teacher, fresh=True)
        network, input_of_teacher = teacher.network, teacher.look.evaluated
    else:
        card, classes = teacher_mining.known(step)
        network, input_of_teacher = models.create(card.arch, num_classes=classes, in_size=card.input.size), card.input
    probabilities_of = teacher_mining.probabilities(network, input_of_teacher, step.engine, images, runtime)
    pixels = drawn(input_of_teacher.size, images)
    return images / _seconds(lambda: probabilities_of(pixels))


def _seconds(step: Callable[[], object]) -> float:
    """Return the mean duration of a step in seconds. The first step is left out."""
    step()
    start, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start < SECONDS:
        step()
        count += 1
    return (time.perf_counter() - start) / count
