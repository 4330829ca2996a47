"""Try a stage: its networks, losses and optimiser with fresh weights, on images of random numbers.

One step shows, before the first stage begins, whether the networks have the outputs that the losses read, whether the
shapes fit, and whether every trained parameter gets a gradient. Many steps show how fast the stage is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle

from ssld import quantize
from ssld.config.recipe import Data, Plan
from ssld.data.pipeline import with_rotations
from ssld.distill.arrays import Array
from ssld.distill.engine import drawn
from ssld.distill.job import Job
from ssld.distill.networks import build, build_peer, check_crop
from ssld.distill.runs import Run, StageRun, of_layer
from ssld.distill.stage import train_step
from ssld.distill.state import TrainState, begin_helpers, set_mode
from ssld.distill.teachers import Teachers, fresh_teacher
from ssld.errors import RecipeError, SsldError
from ssld.interfaces import Batch, Outputs
from ssld.losses import Loss
from ssld.runtime import Runtime

IMAGES = 2  # images of the one step; a batch norm needs two
IN_EVERY_BATCH = {"label", "index"}
KNOWN = 64  # number of training images that the layers of losses are made for


def try_stages(stages: Iterable[StageRun], teachers: Teachers) -> None:
    """Make one step of each of the stages that needs a trial, and keep nothing of it.

    Raises the error of the step, with the name of the stage before it.
    """
    for stage in stages:
        if needs_trial(stage):
            try:
                with on_trial(stage.plan, stage.name, IMAGES, stage.run.alone.runtime, teachers) as (state, batches):
                    begin_helpers(state.step.helpers, _handed(stage, teachers), stage.name)
                    train_step(state, batches, 0, first=True)
            except SsldError as error:
                text = str(error)
                raise type(error)(text if text.startswith("stage ") else f"stage {stage.name}: {text}") from None


def _handed(stage: StageRun, teachers: Teachers) -> dict[str, dict[str, Array]]:
    """Return what the layers of losses of a stage will begin with, with fresh weights in place of trained ones."""
    begin = {}
    for target, source in stage.settings.helpers.items():
        of, path = source.split(".", 1)
        with on_trial(stage.plan, of, IMAGES, stage.run.alone.runtime, teachers) as (state, _):
            layers = {key: value.numpy() for key, value in state.step.helpers.state_dict().items()}
        begin[target] = of_layer(layers, path)
    return begin


def check_sizes(stages: Iterable[StageRun]) -> None:
    """Make the network of each stage with fresh weights, once for each size of its images.

    Raises RecipeError, with the name of the stage, for a size below the smallest that a network takes, and RunError for
    a crop of the evaluation that it does not take.
    """
    checked = set()
    for stage in stages:
        data, role = stage.settings.data, stage.settings.network
        peers = [partial(build_peer, stage, name) for name in stage.settings.peers]
        if peers or (role, data.size, data.crop) not in checked:
            checked.add((role, data.size, data.crop))
            with paddle.utils.unique_name.guard():
                for make in (partial(build, stage.plan, role), *peers):
                    try:
                        network = make(data.size)
                    except RecipeError as error:
                        raise RecipeError(f"stage {stage.name}: {error}") from None
                    check_crop(network, data, f"stages.{stage.name}")


def needs_trial(stage: StageRun) -> bool:
    """Return whether a stage has what only a step shows.

    That is a tap, weights, a layer of a loss, the outputs of a single teacher among several, or own code. Networks of
    the zoo have nothing of it where the losses read the logits of one teacher, or of several combined.
    """
    settings = stage.settings
    if not settings.epochs:
        return False
    losses = [term.loss for term in settings.loss.values()]
    taps = (settings.student_reads | settings.teacher_reads) - {"logits"}
    return bool(taps or stage.plan.code_of(stage.name) or any(map(_reads_more, losses)))


def _reads_more(loss: Loss) -> bool:
    """Return whether a loss has layers, or reads more than outputs, labels and places."""
    reads = loss.reads
    return bool(type(loss).helpers is not Loss.helpers or reads.weights or reads.each or reads.batch - IN_EVERY_BATCH)


@contextmanager
def on_trial(
    plan: Plan, name: str, images: int, runtime: Runtime, teachers: Teachers | None = None
) -> Iterator[tuple[TrainState, Iterator[Batch]]]:
    """Yield the training of a stage with fresh weights, and the same batch of `images` images again and again.

    `teachers` are those that are loaded already; without them the teachers are fresh too. With a label cache the logits
    are random numbers.
    """
    with small(plan, name, images, runtime) as run, paddle.utils.unique_name.guard():
        stage = run.stage(name)
        settings = stage.settings
        labels = np.arange(KNOWN) % plan.classes
        job = Job(
            name=name, stage=settings, folder=run.folder, seed=plan.seed, runtime=runtime, track=None, val=None,
            train=SimpleNamespace(steps_per_epoch=1), classes=plan.classes, labels=labels,
        )  # fmt: skip
        network = build(plan, settings.network, settings.data.size)
        peers = {peer: build_peer(stage, peer, settings.data.size) for peer in settings.peers}
        if settings.quantize:
            quantize.quantise(network)
        labeller = None
        if settings.is_taught and settings.labels is None:
            labeller = fresh_teacher(stage, teachers).on(stage)
        state = TrainState(job, network, labeller, peers)
        for one in state.networks:
            set_mode(one, settings.train)
        batch = drawn_batch(plan, settings.data, images)
        if labeller is None:
            teacher_outputs = Outputs({"logits": paddle.randn([images, plan.classes])})
            yield state, repeat({**batch, "teacher": teacher_outputs})
        else:
            with closing(labeller.labelled(repeat(batch), nullcontext)) as batches:  # type: ignore[type-var]
                yield state, batches


@contextmanager
def small(plan: Plan, name: str, images: int, runtime: Runtime) -> Iterator[Run]:
    """Yield a run of the plan whose stage makes steps of so many images.

    Its folder is removed afterwards.
    """
    stage = plan.stages[name]
    stage = replace(stage, data=replace(stage.data, batch=images), optim=replace(stage.optim, accumulate=1))
    with tempfile.TemporaryDirectory(prefix="ssld-trial-") as scratch:
        yield Run(replace(plan, stages={**plan.stages, name: stage}), Path(scratch), Path(scratch), runtime)


def drawn_batch(plan: Plan, data: Data, images: int) -> Batch:
    """Return images of random numbers as a stage with `data` has them, with labels and places.

    They are always the same, and the same in every view, but that rotations are turned.
    """
    label = np.random.default_rng(0).integers(0, plan.classes, images)
    place = paddle.to_tensor(np.arange(images) % KNOWN)
    image = paddle.to_tensor(drawn(data.size, images))
    batch: Batch = {"image": image, "label": paddle.to_tensor(label), "index": place}
    if data.further:
        batch["views"] = dict.fromkeys(data.further, image)
    return with_rotations(batch, data.turned)
