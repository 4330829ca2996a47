"""Load the teachers of a run from wherever they come, check them, and let them label the images of a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
import paddle
from paddle import nn

from ssld import models, weights
from ssld.config import cards
from ssld.config.cards import Input
from ssld.config.foreign import AccuracyCheck
from ssld.config.recipe import Data, Stage
from ssld.config.teachers import FOREIGN, Combine
from ssld.data import sampler
from ssld.deploy.engines.registry import ENGINES
from ssld.distill.arrays import Floats, Numbers
from ssld.distill.checkpoint import disk_errors
from ssld.distill.engine import EngineLogits, check_engine, in_engine
from ssld.distill.evaluate import evaluate, predict
from ssld.distill.foreign_layer import ForeignLayer, open_foreign
from ssld.distill.images import eval_loader, shown_as
from ssld.distill.networks import build, trained_network
from ssld.distill.runs import Run, StageRun
from ssld.distill.several import Together, combined
from ssld.distill.teacher import TeacherLogits, gate
from ssld.distill.teacher_weights import check_card, teacher_weights, tell_other_input, weights_digest
from ssld.errors import RunError
from ssld.files import damaged, read_json, read_text, write_json
from ssld.foreign import check_accuracy
from ssld.interfaces import Evaluator
from ssld.models import evaluating
from ssld.progress import note
from ssld.runtime import Runtime, barrier, sum_over_ranks

ENGINE = "teacher_engine"
"""In the folder of a stage: what `engine: auto` chose."""


class Facts(TypedDict):
    """Hold what a result says of the network of a teacher, or of several together.

    `norm` says the statistics of its batch norms. `params` and `macs`, its multiply-adds, are None where they cannot be
    counted.
    """

    arch: str
    norm: str
    params: int | None
    macs: int | None


class Taught(Protocol):
    """Show a teacher what it needs of the stage that it teaches, such as a `StageRun`."""

    @property
    def settings(self) -> Stage: ...

    @property
    def runtime(self) -> Runtime: ...

    @property
    def folder(self) -> Path: ...


@dataclass(frozen=True)
class Teacher:
    """Hold one trained teacher.

    `name` is that of the recipe. `norm` says the statistics of its batch norms. `engine` computes its logits. `look`
    says how images are shown to it: their size and normalisation. `key` is its block in the recipe.
    """

    name: str
    network: nn.Layer
    norm: str
    engine: str
    look: Data
    key: str = "teacher"

    def on(self, stage: Taught, engine_file: str = ENGINE) -> TeacherLogits | EngineLogits:
        """Return the labeller that gives the teacher's outputs for the images of a stage.

        The file `engine_file` of the stage's folder records what `engine: auto` chose. A stage that is resumed goes on
        with the same engine, and so with the same bits.
        """
        settings, runtime, file = stage.settings, stage.runtime, stage.folder / engine_file
        look = self.look
        logits = TeacherLogits(
            self.network, self.norm, settings.data, look.size, look.mean, look.std, settings.teacher_reads
        )
        engine = chosen_engine(file) or self.engine
        batch = sampler.micro_size(settings.data.batch, settings.optim.accumulate, runtime.world)
        labeller = in_engine(logits, engine, settings.data.size, batch, runtime, f"{self.key}.engine")
        if engine == "auto":
            barrier(runtime)  # no rank reads the file while another one writes it
            if runtime.main:
                with disk_errors(file):
                    stage.folder.mkdir(parents=True, exist_ok=True)
                    write_json(file, {"engine": labeller.engine})
        return labeller

    def identity(self) -> dict[str, object]:
        """Return what its logits for an image depend on, for the manifest of a label cache."""
        look = {"size": self.look.size, "mean": list(self.look.mean), "std": list(self.look.std)}
        if isinstance(self.network, ForeignLayer):
            return {"network": self.network.identity(), **look}
        return {"weights": weights_digest(self.network), "norm": self.norm, **look}

    def predict(self, stage: StageRun, data: Data) -> tuple[Floats, Numbers]:
        """Return its logits float32 [n, classes] for the validation images of `data`, and their labels int64 [n]."""
        logits, labels = predict(self.network, eval_loader(stage, data=self.shown(data)))
        return logits, labels

    def shown(self, data: Data) -> Data:
        """Return the images of `data` as they are shown to the teacher."""
        return replace(self.look, train=data.train, val=data.val)

    def facts(self) -> Facts:
        """Return what a result says of its network, with the multiply-adds of an image of its own size."""
        arch = str(getattr(self.network, "arch", self.name))
        if isinstance(self.network, ForeignLayer):
            return {"arch": arch, "norm": self.norm, "params": None, "macs": None}
        params, macs = models.count(self.network, self.look.crop)
        return {"arch": arch, "norm": self.norm, "params": params, "macs": macs}


def chosen_engine(file: Path) -> str | None:
    """Return the engine that `engine: auto` chose for a stage, or None where nothing was chosen yet.

    A line on standard error says where the file is damaged; the engine is then chosen anew. An early version wrote
    nothing but the name.
    """
    if not file.exists():
        return None
    try:
        text = read_text(file, "")
        name = read_json(file, "").get("engine") if text.startswith("{") else text
        if name not in ("eager", *ENGINES.names()):
            raise damaged(file, "it names no engine", "")
    except RunError as error:
        note(f"{error}; the engine of the teacher is chosen anew, and its logits may differ in their last bits")
        return None
    return str(name)


@dataclass(frozen=True)
class SeveralTeachers:
    """Combine several teachers into one. Losses that read every teacher get the outputs of each."""

    teachers: dict[str, Teacher]
    combine: Combine

    def on(self, stage: Taught) -> Together:
        """Return the labeller that gives the combined outputs for the images of a stage."""
        is_only = len(self.teachers) == 1
        parts = {
            name: teacher.on(stage, ENGINE if is_only else f"{ENGINE}-{name}")
            for name, teacher in self.teachers.items()
        }
        return Together(parts, self.combine)

    def identity(self) -> dict[str, object]:
        """Return what the combined logits depend on, for the manifest of a label cache."""
        parts = {name: teacher.identity() for name, teacher in self.teachers.items()}
        return {"mean": self.combine.mean, "weights": self.combine.weights, "teachers": parts}

    def predict(self, stage: StageRun, data: Data) -> tuple[Floats, Numbers]:
        """Return logits and labels as `Teacher.predict` does, of all the teachers combined."""
        parts = {name: teacher.predict(stage, data) for name, teacher in self.teachers.items()}
        labels = next(iter(parts.values()))[1]
        with paddle.no_grad():
            logits = {name: paddle.to_tensor(logits) for name, (logits, _) in parts.items()}
            return combined(logits, self.combine).numpy(), labels

    def facts(self) -> Facts:
        """Return facts as `Teacher.facts` does. They are sums, or None where one of the networks cannot be counted."""
        parts = [teacher.facts() for teacher in self.teachers.values()]
        return {
            "arch": " + ".join(part["arch"] for part in parts),
            "norm": "/".join(sorted({part["norm"] for part in parts})),
            "params": _sum(part["params"] for part in parts),
            "macs": _sum(part["macs"] for part in parts),
        }


def _sum(counts: Iterable[int | None]) -> int | None:
    """Return the sum, or None where one of the counts is not known."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


class Teachers:
    """Hold the teachers of a run by name. Each is loaded when it is first needed."""

    def __init__(self, run: Run):
        self.run = run
        self._loaded: dict[str, Teacher] = {}

    def named(self, name: str) -> Teacher:
        """Return the teacher of this name, and load it where that was not done yet."""
        if name not in self._loaded:
            self._loaded[name] = load_teacher(self.run, name)
        return self._loaded[name]

    def of(self, stage: StageRun) -> Teacher | SeveralTeachers:
        """Return the teacher of a stage: from the recipe, or the float network that a quantised stage starts from."""
        if not stage.settings.asks_teacher:
            return float_teacher(stage)
        teachers = {name: self.named(name) for name in stage.plan.teachers_of(stage.name)}
        return _as_one(stage, teachers)

    def check(self, stages: Iterable[StageRun]) -> None:
        """Load, before the first step, the teachers that one of these stages asks and that no stage trains here.

        Raises RunError, RecipeError or WeightsError where a teacher is not what the recipe says.
        """
        for stage in stages:
            for name, teacher in stage.plan.teachers_of(stage.name).items():
                if teacher.source != "stage":
                    self.named(name)


def take_ends(stage: StageRun, teachers: Teachers, network: nn.Layer, peers: Mapping[str, nn.Layer]) -> None:
    """Give the networks of a stage that end in the end of a teacher the weights of that, where they begin with it."""
    plan, settings = stage.plan, stage.settings
    begun = {*(("student",) if stage.start else ()), *(stage.start.settings.peers if stage.start else ())}
    blocks = {settings.network: (plan.network_of(settings.network), network)}
    blocks |= {name: (settings.peers[name], peer) for name, peer in peers.items()}
    for name, (block, trained) in blocks.items():
        head = getattr(block, "head", None)
        if head is not None and head.kind == "teacher" and name not in begun:
            models.take_end(trained, teachers.named(plan.head_teacher(head)).network)


def check_engines(run: Run) -> None:
    """Check that this process can use the engines of the teachers. Raises RunError or DeployError."""
    for name, teacher in run.plan.all_teachers.items():
        if run.plan.is_asked(name):
            check_engine(teacher.engine, run.runtime, f"{run.plan.key_of(name)}.engine")


def check_files(run: Run) -> None:
    """Check that the files of the teachers are there before long work begins. Raises RunError for a missing one.

    A smoke run has fresh weights in place of those of cards and files.
    """
    for name, teacher in run.plan.all_teachers.items():
        if teacher.card and not run.is_smoke:
            card = cards.find_teacher(teacher.card)
            teacher_weights(teacher.card, card, teacher.weights, f"{run.plan.key_of(name)}.weights")
        for key in ("onnx", "program", "run", "classes_file", *(() if run.is_smoke else ("weights",))):
            file = getattr(teacher, key)
            if file is not None and not any(Path(f"{file}{end}").exists() for end in ("", ".json", ".pdmodel")):
                raise RunError(f"{run.plan.key_of(name)}.{key}: no file or folder {file}; give a path that is there")


def load_teacher(run: Run, name: str, *, fresh: bool = False, checked: bool = True) -> Teacher:
    """Load a teacher of the recipe with its trained weights, or with `fresh` ones where its network is built here.

    A teacher that no stage of the recipe trains is `checked` on labelled validation images, unless its weights are
    fresh; RunError is raised where it fails. In a smoke run the weights of cards and files are fresh, and the images
    have the student's size.
    """
    teacher = run.plan.all_teachers[name]
    network, look = _SOURCES[teacher.source](run, name, fresh)
    loaded = Teacher(name, network, teacher.statistics, teacher.engine, look, run.plan.key_of(name))
    if checked and teacher.gate and teacher.source != "stage" and not fresh and not run.is_smoke:
        (_pass_gate if teacher.card else _pass_check)(run, loaded)
    return loaded


def fresh_teacher(stage: StageRun, loaded: Teachers | None = None) -> Teacher | SeveralTeachers:
    """Return the future teacher of a stage before any stage is trained.

    Teachers that no stage trains are taken from `loaded`; the others have fresh weights.
    """
    plan = stage.plan
    if not stage.settings.asks_teacher:
        assert stage.start is not None
        look = stage.start.settings.data
        return Teacher("float", build(plan, "student", look.size), "running", "eager", look)
    teachers = {
        name: load_teacher(stage.run, name, fresh=True)
        if loaded is None or teacher.source == "stage"
        else loaded.named(name)
        for name, teacher in plan.teachers_of(stage.name).items()
    }
    return _as_one(stage, teachers)


def _as_one(stage: StageRun, teachers: dict[str, Teacher]) -> Teacher | SeveralTeachers:
    """Return the only teacher of a stage itself.

    Several teachers, and a single one that a loss reads as one of several, become `SeveralTeachers`.
    """
    reads_each = any(term.loss.reads.each for term in stage.settings.loss.values())
    if len(teachers) == 1 and not reads_each:
        return next(iter(teachers.values()))
    return SeveralTeachers(teachers, stage.settings.combine)


def float_teacher(stage: StageRun) -> Teacher:
    """Return the float network that a quantised stage starts from, as its teacher."""
    assert stage.start is not None
    return Teacher("float", trained_network(stage.start), "running", "eager", stage.start.settings.data)


def _of_stage(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    stage = run.stage(str(run.plan.all_teachers[name].stage))
    look = stage.settings.data
    return build(run.plan, stage.settings.network, look.size) if fresh else trained_network(stage), look


def _of_card(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    plan, block = run.plan, run.plan.all_teachers[name]
    card = cards.find_teacher(str(block.card))
    network, card_input = build(plan, name, card.input.size), card.input
    if run.is_smoke and not fresh:
        note(f"teacher {block.card}: fresh weights and the student's size, this is a smoke run")
    elif not fresh:
        option = f"{plan.key_of(name)}.weights"
        file = teacher_weights(str(block.card), card, block.weights, option)
        weights.load_into(network, file)
        check_card(str(block.card), network)
        tell_other_input(f"teacher {block.card}", file, card_input)
    if run.is_smoke:
        card_input = replace(card_input, size=plan.smoke.size, resize=plan.smoke.size)
    return network, shown_as(run.last.settings.data, card_input)


def _of_weights(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    plan, block = run.plan, run.plan.all_teachers[name]
    look = _look(run, name)
    network = build(plan, name, look.size)
    if run.is_smoke and not fresh:
        note(f"teacher {name}: fresh weights and the student's size, this is a smoke run")
    elif not fresh:
        file = Path(str(block.weights))
        if not file.exists():
            raise RunError(f"{plan.key_of(name)}.weights: no file {file}; give the weights of {block.title}")
        weights.load_into(network, file)
        tell_other_input(f"teacher {name}", file, look.evaluated)
    return network, look


def _of_run(run: Run, name: str, fresh: bool) -> tuple[nn.Layer, Data]:
    folder = Path(str(run.plan.all_teachers[name].run))
    teacher_run = Run.of_folder(folder, run.runtime)
    if teacher_run.plan.classes != run.plan.classes:
        what = f"{folder} was trained for {teacher_run.plan.classes} classes, the recipe has {run.plan.classes}"
        raise RunError(f"{run.plan.key_of(name)}.run: {what}; give a run of the same classes")
    look = teacher_run.last.settings.data
    return build(teacher_run.plan, "student", look.crop) if fresh else trained_network(teacher_run.last), replace(
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
    """Return images as the `input` of a teacher says.

    The border that an evaluation cuts off has the same share as for the student, and the background is the same.
    """
    teacher_input, data = run.plan.all_teachers[name].input, run.last.settings.data
    assert teacher_input is not None
    size = run.plan.smoke.size if run.is_smoke and not foreign else teacher_input.size
    resize = round(size * data.resize / data.crop)
    mean, std = teacher_input.mean, teacher_input.std
    return shown_as(data, Input(size=size, resize=resize, mean=mean, std=std, background=data.background))


def _asking(run: Run, name: str) -> StageRun:
    """Return the first stage that asks a teacher, or else the last stage."""
    return next((stage for stage in run.stages.values() if name in run.plan.teachers_of(stage.name)), run.last)


def _pass_gate(run: Run, loaded: Teacher) -> None:
    """Measure a teacher with its own input on a slice of the validation images, and compare its top-1 with its card."""
    teacher, stage = run.plan.all_teachers[loaded.name], _asking(run, loaded.name)
    card = cards.find_teacher(str(teacher.card))
    loader = eval_loader(stage, take=teacher.gate, data=loaded.shown(stage.settings.data))
    # A short list has fewer images than the gate asks for.
    images = int(sum_over_ranks(np.array([float(loader.images)]), run.runtime)[0])
    top1 = evaluate(loaded.network, loader, run.runtime)["top1"]
    note(f"teacher {teacher.card}: {top1:.2f} top-1 on {images} validation images, its card says {card.top1:.2f}")
    skip = f"{run.plan.key_of(loaded.name)}.gate=0"
    gate(str(teacher.card), top1, card.top1, images, teacher.gate_points, skip)


def _pass_check(run: Run, loaded: Teacher) -> None:
    """Measure a teacher that no card describes on a slice of the validation images, whose classes it must know."""
    teacher, alone = run.plan.all_teachers[loaded.name], run.alone
    stage = alone.stage(_asking(run, loaded.name).name)
    loader = eval_loader(stage, take=teacher.gate, data=loaded.shown(stage.settings.data))
    skip = f"{run.plan.key_of(loaded.name)}.gate=0"
    pass_check(loaded.name, loaded.network, loader, run.plan.classes, teacher.check, skip)


def pass_check(name: str, network: nn.Layer, loader: Evaluator, classes: int, check: AccuracyCheck, skip: str) -> None:
    """Measure a network on the labelled images of a loader, which shows them as it expects them, and print its top-1.

    Raises RunError where the network does not know their classes. `skip` says how to leave out this check.
    """

    def batches() -> Iterator[tuple[Floats, Numbers]]:
        for batch in loader.batches():
            yield batch["image"].numpy(), batch["label"].numpy()

    accuracy = check_accuracy(name, _Asked(network, classes), batches(), check, skip)
    if accuracy is not None:
        note(f"teacher {name}: {accuracy.top1:.2f} top-1 on {accuracy.images} validation images")


@dataclass(frozen=True)
class _Asked:
    """Wrap a network for the accuracy check, which gives arrays and takes arrays."""

    network: nn.Layer
    classes: int

    def __call__(self, images: Floats) -> dict[str, Floats]:
        with paddle.no_grad(), evaluating(self.network):
            return {"logits": self.network(paddle.to_tensor(images)).astype("float32").numpy()}
