"""The teachers of a run, from wherever they come: loaded once, checked, and put to work on the images of a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import nn

from ssld import models, weights
from ssld.config import cards
from ssld.config.foreign import AccuracyCheck
from ssld.config.recipe import Data, Plan, Stage
from ssld.config.teachers import FOREIGN, Combine
from ssld.data import sampler
from ssld.distill.arrays import Array
from ssld.distill.checkpoint import disk_errors
from ssld.distill.engine import EngineLogits, check_engine, in_engine
from ssld.distill.evaluate import evaluate, predict
from ssld.distill.foreign_layer import ForeignLayer, open_foreign
from ssld.distill.images import eval_loader, shown_as
from ssld.distill.networks import build, trained_network
from ssld.distill.runs import Run, StageRun
from ssld.distill.several import Together, combined
from ssld.distill.teacher import TeacherLogits, gate
from ssld.distill.teacher_weights import teacher_weights, weights_digest
from ssld.errors import RunError
from ssld.files import write_whole
from ssld.foreign import check_accuracy
from ssld.interfaces import Evaluator
from ssld.models import evaluating
from ssld.progress import note
from ssld.runtime import Runtime, barrier, sum_over_ranks

ENGINE = "teacher_engine"
"""In the folder of a stage: what `engine: auto` chose."""


class Taught(Protocol):
    """What a teacher asks of the stage that it teaches, such as a `StageRun`."""

    @property
    def settings(self) -> Stage: ...

    @property
    def runtime(self) -> Runtime: ...

    @property
    def folder(self) -> Path: ...


@dataclass(frozen=True)
class Teacher:
    """One trained teacher. name: of the recipe. norm: the statistics of its batch norms. engine: what computes its
    logits. look: how images are shown to it, their size and normalisation.
    """

    name: str
    network: nn.Layer
    norm: str
    engine: str
    look: Data

    def on(self, stage: Taught, chosen: str = ENGINE) -> TeacherLogits | EngineLogits:
        """Its outputs for the images of a stage.

        What `engine: auto` chose stands in the file `chosen` of the stage's folder: a stage that is resumed goes on
        with the same engine, and so with the same bits.
        """
        settings, runtime, file = stage.settings, stage.runtime, stage.folder / chosen
        look = self.look
        logits = TeacherLogits(
            self.network, self.norm, settings.data, look.size, look.mean, look.std, settings.teacher_reads
        )
        engine = file.read_text(encoding="utf-8") if file.is_file() else self.engine
        batch = sampler.micro_size(settings.data.batch, settings.optim.accumulate, runtime.world)
        labeller = in_engine(logits, engine, settings.data.size, batch, runtime)
        if engine == "auto":
            barrier(runtime)  # no rank reads what another one writes
            if runtime.main:
                with disk_errors(file):
                    stage.folder.mkdir(parents=True, exist_ok=True)
                    write_whole(file, labeller.engine)
        return labeller

    def identity(self) -> dict[str, Any]:
        """What its logits for an image depend on, for the manifest of a label cache."""
        look = {"size": self.look.size, "mean": list(self.look.mean), "std": list(self.look.std)}
        if isinstance(self.network, ForeignLayer):
            return {"network": self.network.identity(), **look}
        return {"weights": weights_digest(self.network), "norm": self.norm, **look}

    def predict(self, stage: StageRun) -> tuple[Array, Array]:
        """Logits float32 [n, classes] and labels int64 [n] of the stage's validation images, as it sees them."""
        logits, labels = predict(self.network, eval_loader(stage, data=self.shown(stage.settings.data)))
        return logits, labels

    def shown(self, data: Data) -> Data:
        """The images of `data`, as they are shown to it."""
        return replace(self.look, train=data.train, val=data.val)

    def facts(self, size: int | None = None) -> dict[str, Any]:
        """What a result says of its network: `arch`, `norm`, and `params` and `macs` where they can be counted."""
        about = {"arch": str(getattr(self.network, "arch", self.name)), "norm": self.norm}
        if isinstance(self.network, ForeignLayer):
            return about | {"params": None, "macs": None}
        params, macs = models.count(self.network, size or self.look.crop)
        return about | {"params": params, "macs": macs}


@dataclass(frozen=True)
class SeveralTeachers:
    """Several teachers who speak as one; losses that read every teacher apart get them apart."""

    teachers: dict[str, Teacher]
    combine: Combine

    def on(self, stage: Taught) -> Together:
        one = len(self.teachers) == 1
        parts = {
            name: teacher.on(stage, ENGINE if one else f"{ENGINE}-{name}") for name, teacher in self.teachers.items()
        }
        return Together(parts, self.combine)

    def identity(self) -> dict[str, Any]:
        parts = {name: teacher.identity() for name, teacher in self.teachers.items()}
        return {"mean": self.combine.mean, "weights": self.combine.weights, "teachers": parts}

    def predict(self, stage: StageRun) -> tuple[Array, Array]:
        """As `Teacher.predict`, of all of them together."""
        parts = {name: teacher.predict(stage) for name, teacher in self.teachers.items()}
        labels = next(iter(parts.values()))[1]
        with paddle.no_grad():
            logits = {name: paddle.to_tensor(logits) for name, (logits, _) in parts.items()}
            return combined(logits, self.combine).numpy(), labels

    def facts(self) -> dict[str, Any]:
        """As `Teacher.facts`: sums, None where one of them cannot be counted."""
        parts = [teacher.facts() for teacher in self.teachers.values()]
        sums: dict[str, Any] = {}
        for key in ("params", "macs"):
            counts = [part[key] for part in parts]
            sums[key] = None if None in counts else sum(counts)
        norms = sorted({part["norm"] for part in parts})
        return {"arch": " + ".join(part["arch"] for part in parts), "norm": "/".join(norms), **sums}


class Teachers:
    """The teachers of a run by name, each loaded when it is first asked."""

    def __init__(self, run: Run):
        self.run = run
        self._loaded: dict[str, Teacher] = {}

    def named(self, name: str) -> Teacher:
        if name not in self._loaded:
            self._loaded[name] = load_teacher(self.run, name)
        return self._loaded[name]

    def of(self, stage: StageRun) -> Teacher | SeveralTeachers:
        """Whoever teaches a stage: teachers of the recipe, or the float network that a quantised stage starts from."""
        if not stage.settings.asks_teacher:
            return float_teacher(stage)
        asked = {name: self.named(name) for name in stage.plan.teachers_of(stage.name)}
        return _as_one(stage, asked)

    def check(self, stages: Iterable[StageRun]) -> None:
        """Load those that no stage of the recipe trains and that one of these stages will ask, before the first step.

        Raises RunError, RecipeError or WeightsError where one is not what the recipe says.
        """
        for stage in stages:
            for name, teacher in stage.plan.teachers_of(stage.name).items():
                if teacher.source != "stage":
                    self.named(name)


def check_engines(run: Run) -> None:
    """RunError or DeployError for a teacher's engine that this process cannot use."""
    for name, teacher in run.plan.all_teachers.items():
        if run.plan.is_asked(name):
            check_engine(teacher.engine, run.runtime)


def check_files(run: Run) -> None:
    """The files of the teachers must be there before anything begins that takes long. RunError for one that is not.

    A smoke run has fresh weights in place of those of cards and files.
    """
    for name, teacher in run.plan.all_teachers.items():
        if teacher.card and not run.is_smoke:
            card = cards.find_teacher(teacher.card)
            teacher_weights(teacher.card, card, teacher.weights, f"{_key(run.plan, name)}.weights")
        for key in ("onnx", "program", "run", "classes_file", *(() if run.is_smoke else ("weights",))):
            file = getattr(teacher, key)
            if file is not None and not any(Path(f"{file}{end}").exists() for end in ("", ".json", ".pdmodel")):
                raise RunError(f"{_key(run.plan, name)}.{key}: no file or folder {file}; give a path that is there")


def load_teacher(run: Run, name: str, *, fresh: bool = False, checked: bool = True) -> Teacher:
    """A teacher of the recipe with its trained weights; if it is to be `checked`, on labelled validation images where
    no stage of the recipe made it (RunError where it fails). `fresh`: with fresh weights, of a network that is built
    here, unchecked.

    In a smoke run the weights of cards and files are fresh, and the images have the student's size.
    """
    teacher = run.plan.all_teachers[name]
    network, look = _SOURCES[teacher.source](run, name, fresh)
    loaded = Teacher(name, network, teacher.statistics, teacher.engine, look)
    if checked and teacher.gate and teacher.source != "stage" and not fresh and not run.is_smoke:
        (_pass_gate if teacher.card else _pass_check)(run, loaded)
    return loaded


def fresh_teacher(stage: StageRun, loaded: Teachers | None = None) -> Teacher | SeveralTeachers:
    """Whoever will teach a stage, before any stage is trained: `loaded` ones where no stage trains them, and networks
    with fresh weights for the others.
    """
    plan = stage.plan
    if not stage.settings.asks_teacher:
        assert stage.start is not None
        look = stage.start.settings.data
        return Teacher("float", build(plan, "student", look.size), "running", "eager", look)
    asked = {
        name: load_teacher(stage.run, name, fresh=True)
        if loaded is None or teacher.source == "stage"
        else loaded.named(name)
        for name, teacher in plan.teachers_of(stage.name).items()
    }
    return _as_one(stage, asked)


def _as_one(stage: StageRun, asked: dict[str, Teacher]) -> Teacher | SeveralTeachers:
    """The only teacher of a stage itself; several, and one that a loss asks apart, as `SeveralTeachers`."""
    apart = any(term.loss.reads.each for term in stage.settings.loss.values())
    if len(asked) == 1 and not apart:
        return next(iter(asked.values()))
    return SeveralTeachers(asked, stage.settings.combine)


def float_teacher(stage: StageRun) -> Teacher:
    """The float network that a quantised stage starts from, as its teacher."""
    assert stage.start is not None
    return Teacher("float", trained_network(stage.start), "running", "eager", stage.start.settings.data)


def _of_stage(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    stage = run.stage(str(run.plan.all_teachers[name].stage))
    look = stage.settings.data
    return build(run.plan, stage.settings.network, look.size) if fresh else trained_network(stage), look


def _of_card(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    plan, block = run.plan, run.plan.all_teachers[name]
    card = cards.find_teacher(str(block.card))
    network, given = build(plan, name, card.input.size), card.input
    if run.is_smoke and not fresh:
        note(f"teacher {block.card}: fresh weights and the student's size, this is a smoke run")
    elif not fresh:
        option = f"{_key(plan, name)}.weights"
        weights.load_into(network, teacher_weights(str(block.card), card, block.weights, option))
    size, resize = (plan.smoke.size,) * 2 if run.is_smoke else (given.size, given.resize)
    return network, shown_as(run.last.settings.data, size=size, resize=resize, mean=given.mean, std=given.std)


def _of_weights(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    plan, block = run.plan, run.plan.all_teachers[name]
    look = _look(run, name)
    network = build(plan, name, look.size)
    if run.is_smoke and not fresh:
        note(f"teacher {name}: fresh weights and the student's size, this is a smoke run")
    elif not fresh:
        file = Path(str(block.weights))
        if not file.exists():
            raise RunError(f"{_key(plan, name)}.weights: no file {file}; give the weights of {block.title}")
        weights.load_into(network, file)
    return network, look


def _of_run(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    folder = Path(str(run.plan.all_teachers[name].run))
    other = Run.of_folder(folder, run.runtime)
    if other.plan.classes != run.plan.classes:
        what = f"{folder} was trained for {other.plan.classes} classes, the recipe has {run.plan.classes}"
        raise RunError(f"{_key(run.plan, name)}.run: {what}; give a run of the same classes")
    look = other.last.settings.data
    return build(other.plan, "student", look.crop) if fresh else trained_network(other.last), replace(
        look, size=look.crop, eval_batch=run.last.settings.data.eval_batch
    )


def _of_elsewhere(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    return open_foreign(run.plan.all_teachers[name], run.plan.classes, run.runtime), _look(run, name, foreign=True)


_SOURCES: dict[str, Callable[[Run, str, bool], tuple[nn.Layer, Data]]] = {
    "stage": _of_stage,
    "card": _of_card,
    "weights": _of_weights,
    "run": _of_run,
    **dict.fromkeys(FOREIGN, _of_elsewhere),
}


def _look(run: Run, name: str, foreign: bool = False) -> Data:
    """Images as the `input` of a teacher says; of the border an evaluation cuts off as much as for the student."""
    given, data = run.plan.all_teachers[name].input, run.last.settings.data
    assert given is not None
    size = run.plan.smoke.size if run.is_smoke and not foreign else given.size
    resize = round(size * data.resize / data.crop)
    return shown_as(data, size=size, resize=resize, mean=given.mean, std=given.std)


def _asking(run: Run, name: str) -> StageRun:
    """The first stage that asks a teacher; else the last one."""
    return next((stage for stage in run.stages.values() if name in run.plan.teachers_of(stage.name)), run.last)


def _pass_gate(run: Run, loaded: Teacher) -> None:
    """Measure a teacher on a slice of the validation images, with its own input, and compare with its card."""
    teacher, stage = run.plan.all_teachers[loaded.name], _asking(run, loaded.name)
    card = cards.find_teacher(str(teacher.card))
    loader = eval_loader(stage, take=teacher.gate, data=loaded.shown(stage.settings.data))
    images = int(sum_over_ranks(np.array([float(loader.images)]), run.runtime)[0])  # a short list holds fewer
    top1 = evaluate(loaded.network, loader, run.runtime)["top1"]
    note(f"teacher {teacher.card}: {top1:.2f} top-1 on {images} validation images, its card says {card.top1:.2f}")
    skip = f"{_key(run.plan, loaded.name)}.gate=0"
    gate(str(teacher.card), top1, card.top1, images, teacher.gate_points, skip)


def _pass_check(run: Run, loaded: Teacher) -> None:
    """Measure a teacher that no card describes on a slice of the validation images: it must know their classes."""
    teacher, alone = run.plan.all_teachers[loaded.name], run.alone
    stage = alone.stage(_asking(run, loaded.name).name)
    loader = eval_loader(stage, take=teacher.gate, data=loaded.shown(stage.settings.data))
    skip = f"{_key(run.plan, loaded.name)}.gate=0"
    pass_check(loaded.name, loaded.network, loader, run.plan.classes, teacher.check, skip)


def pass_check(name: str, network: nn.Layer, loader: Evaluator, classes: int, check: AccuracyCheck, skip: str) -> None:
    """Measure a network on the labelled images of a loader, which shows them as it expects them, and say its top-1.

    RunError where it does not know their classes; `skip` is how to leave out this check.
    """

    def batches() -> Iterator[tuple[Array, Array]]:
        for batch in loader.batches():
            yield batch["image"].numpy(), batch["label"].numpy()

    accuracy = check_accuracy(name, _Asked(network, classes), batches(), check, skip)
    if accuracy is not None:
        note(f"teacher {name}: {accuracy.top1:.2f} top-1 on {accuracy.images} validation images")


@dataclass(frozen=True)
class _Asked:
    """A network as the accuracy check asks it: arrays in, arrays out."""

    network: nn.Layer
    classes: int

    def __call__(self, images: Array) -> dict[str, Array]:
        with paddle.no_grad(), evaluating(self.network):
            return {"logits": self.network(paddle.to_tensor(images)).astype("float32").numpy()}


def _key(plan: Plan, name: str) -> str:
    """The key of a teacher in the recipe."""
    return "teacher" if plan.teacher and name == "teacher" else f"teachers.{name}"
