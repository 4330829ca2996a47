"""Mine images with a real teacher, as `ssld mine` and a step of a recipe ask for it.

The teacher is one of the recipe, that of a card, or the one that a finished run trained.
"""

from __future__ import annotations  # a type of `mine` needs the extra `mine`, and every run imports this file

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import paddle
from paddle import nn

from ssld import mine, models, weights
from ssld.config import cards, cost, recipe
from ssld.config.cards import Input
from ssld.config.mine_step import Mine, check_mine
from ssld.config.recipe import Data
from ssld.data import EvalLoader, FileList, class_names, read_list, sampler
from ssld.distill.arrays import Floats
from ssld.distill.engine import compiled
from ssld.distill.evaluate import evaluate
from ssld.distill.metrics import softmax
from ssld.distill.runs import Run
from ssld.distill.teacher import TeacherLogits, gate
from ssld.distill.teacher_weights import CLASSES, as_trained, check_card, classes_of, file_digest, teacher_weights
from ssld.distill.teachers import Teacher
from ssld.errors import RunError
from ssld.files import json_digest
from ssld.progress import note, progress
from ssld.runtime import Runtime, barrier, cores


class Trained(Protocol):
    """Describe a training: a card, or the stage of a run that trained a teacher."""

    @property
    def arch(self) -> str: ...

    @property
    def top1(self) -> float: ...

    @property
    def input(self) -> Input: ...


@dataclass(frozen=True)
class OfRun:
    """Describe the teacher that a run trained, as `Trained`."""

    arch: str
    top1: float
    input: Input


def mine_pool(
    step: Mine,
    root: Path,
    out: Path,
    runtime: Runtime,
    part: tuple[int, int] = (1, 1),
    threads: int | None = None,
    quiet: bool = False,
    teachers: Mapping[str, Callable[[], Teacher]] | None = None,
) -> mine.Mined:
    """Mine the pool of a step, whose paths are relative to `root`, and return what `mine.mine` returns.

    `teachers` are those of the recipe, by name. A name of `step.teacher` that is not among them is a card, or the
    folder of a run. `threads` is by default one for each core. With several ranks each scores its share of the shards,
    and rank 0 chooses the images.
    """
    check_mine(step, "")
    against, quiet = root / step.against, quiet or not runtime.main
    files, shards = read_list(against, against.parent), mine.shards([root / source for source in step.sources])
    if teachers and step.teacher in teachers:
        teacher = _of_recipe(step, teachers[step.teacher](), against, runtime)
    else:
        teacher = _of_card_or_run(step, files, against, runtime, quiet)
    job = mine.Job(
        shards=shards,
        teacher=teacher,
        against=files,
        against_list=against,
        options=mine.Options(k=step.k, min_score=step.min_score, assign=step.assign),
        out=out,
        sources=[os.path.abspath(root / source) for source in step.sources],
        part=part,
        threads=threads or max(1, cores() // runtime.world),
        quiet=quiet,
    )
    if runtime.world == 1:
        return mine.mine(job)
    if runtime.main:
        mine.open_folder(job)
    barrier(runtime)
    mine.mine(replace(job, part=(runtime.rank + 1, runtime.world)))
    barrier(runtime)
    return mine.mine(job) if runtime.main else {}


def _of_recipe(step: Mine, teacher: Teacher, against: Path, runtime: Runtime) -> mine.Teacher:
    """Return a teacher of the recipe, which was checked when it was loaded.

    Its batch norms use the running statistics.
    """
    network, teacher_input = teacher.network, _seen(teacher.look.evaluated, step)
    classes: int = network.num_classes
    return mine.Teacher(
        classes=classes,
        input=teacher_input,
        ready=lambda: probabilities(network, teacher_input, step.engine, mine.BATCH, runtime),
        facts={
            "name": step.teacher, "arch": network.arch, "weights": json_digest(teacher.identity()),
            "engine": step.engine,
        },
        names=class_names(against, classes),
    )  # fmt: skip


def _of_card_or_run(step: Mine, files: FileList, against: Path, runtime: Runtime, quiet: bool) -> mine.Teacher:
    """Return the teacher of a step.

    Its network is loaded, and measured on the validation images, when it is first used.
    """
    card, file = trained(step)
    classes = classes_of(file)

    def ready() -> Callable[[Floats], Floats]:
        network = load_network(card, file)
        if not cost.is_run(step.teacher):
            check_card(step.teacher, network)
        check_teacher(step.teacher, card, network, files, step.gate, runtime, quiet)
        return probabilities(network, card.input, step.engine, mine.BATCH, runtime)

    return mine.Teacher(
        classes=classes,
        input=card.input,
        ready=ready,
        facts={"name": step.teacher, "arch": card.arch, "weights": file_digest(file), "engine": step.engine},
        names=class_names(against, classes),
    )


def trained(step: Mine) -> tuple[Trained, Path]:
    """Return the teacher of a step, from a card or from the folder of a run, and its weights file.

    Raises RunError as `teacher_weights` and `of_run` do.
    """
    if not cost.is_run(step.teacher):
        card = cards.find_teacher(step.teacher)
        file = teacher_weights(step.teacher, card, step.weights)
        card = as_trained(card, file)
        return replace(card, input=_seen(card.input, step)), file
    if step.weights:
        raise RunError(f"teacher {step.teacher}: a run has its own weights; leave weights out, or give a card")
    training, file = of_run(Path(step.teacher))
    return replace(training, input=_seen(training.input, step)), file


def _seen(teacher_input: Input, step: Mine) -> Input:
    """Return the input of a teacher, with the background that the step names."""
    return replace(teacher_input, background=step.background) if step.background else teacher_input


def known(step: Mine) -> tuple[Trained, int]:
    """Return the teacher of a step and its number of classes. The weights of a card need not be there."""
    if not cost.is_run(step.teacher):
        return cards.find_teacher(step.teacher), CLASSES
    card, file = of_run(Path(step.teacher))
    return card, classes_of(file)


def of_run(folder: Path) -> tuple[OfRun, Path]:
    """Return the teacher that the run of a folder trained, and its weights file.

    Raises RunError where the run has trained no teacher.
    """
    plan = recipe.of_run(folder)
    names = [teacher.stage for teacher in plan.all_teachers.values() if teacher.stage]
    run = Run.of_plan(plan, folder, Runtime(rank=0, world=1, gpu=None))
    if not names or not run.stage(names[0]).is_done:
        raise RunError(f"teacher {folder}: this run has trained no teacher; give another run, or a card")
    stage, block = run.stage(names[0]), plan.network_of(plan.stages[names[0]].network)
    if block.code:
        what = f"its teacher is a network of one's own, {block.code}"
        raise RunError(f"teacher {folder}: {what}; give a run whose teacher is of the zoo")
    return OfRun(str(block.arch), stage.record()["top1"], stage.settings.data.evaluated), stage.weights_file()


def load_network(card: Trained, file: Path) -> nn.Layer:
    """Load the card's network with these weights, in evaluation mode. Raises WeightsError where a key does not fit."""
    network = models.create(card.arch, num_classes=classes_of(file), in_size=card.input.size)
    weights.load_into(network, file)
    network.eval()
    return network


def check_teacher(
    name: str, card: Trained, network: nn.Layer, files: FileList, images: int, runtime: Runtime, quiet: bool
) -> None:
    """Check that the top-1 of a teacher on a slice of labelled images is about what its card says, see `teacher.gate`.

    Raises RunError where it is not.
    """
    if not images:
        return
    if (files.labels < 0).any() or files.labels.max() >= network.num_classes:
        note(f"teacher {name}: not checked, {files.path(0)} and the others are not labelled with its classes")
        return
    selection = files.subset(sampler.evenly(images, len(files)))
    loader = EvalLoader(selection, **vars(card.input), batch=64, device=runtime.gpu)
    with progress(loader.images, "teacher", quiet=quiet) as bar:
        top1 = evaluate(network, loader, runtime, bar.update)["top1"]
    gate(name, top1, card.top1, loader.images, 1.0, skip="--gate 0")


def probabilities(
    network: nn.Layer, network_input: Input, engine: str, batch: int, runtime: Runtime
) -> Callable[[Floats], Floats]:
    """Return a function from images float32 [n, 3, size, size], normalised for the network, to float32 [n, classes].

    `network_input` says how they are normalised. `engine` is one of those of `teacher.engine` of a recipe except
    `auto`, because scores of two engines differ in bits and must not be mixed. The engine is checked against the
    network as `EngineLogits` says.
    """
    data = Data(train=("",), val="", size=network_input.size, mean=network_input.mean, std=network_input.std)
    logits = TeacherLogits(network, "running", data, network_input.size, network_input.mean, network_input.std)
    if engine == "eager":
        return lambda images: softmax(_eager(logits, images)).astype(np.float32)
    if runtime.gpu is not None:
        raise RunError(f"engine {engine} runs on a CPU; give --engine eager, or --device cpu")
    run = compiled(logits, engine, network_input.size, batch, cores(), "engine").run
    return lambda images: softmax(run(images)).astype(np.float32)


def _eager(logits: TeacherLogits, images: Floats) -> Floats:
    with paddle.no_grad():
        values: Floats = logits(paddle.to_tensor(images)).numpy()
    return values
