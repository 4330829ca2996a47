"""From a plan to what a stage needs: its images, its network, its teacher."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ssld import models, quantize, weights
from ssld.config import cards
from ssld.config.pool import LIST
from ssld.config.recipe import Data, Plan, Stage
from ssld.data import EvalLoader, FileList, Loader, Views, read_list, refuse_scoring, sampler
from ssld.data.lists import compare_classes
from ssld.distill.checkpoint import disk_errors
from ssld.distill.engine import EngineLogits, in_engine
from ssld.distill.evaluate import evaluate
from ssld.distill.pretrained import start_pretrained
from ssld.distill.scorer import teacher_weights
from ssld.distill.teacher import TeacherLogits, gate
from ssld.errors import DataError, RunError
from ssld.files import write_whole
from ssld.progress import note
from ssld.runtime import Runtime, barrier, seed_networks, seed_of, sum_over_ranks

QUANTIZE = "quantize.json"
"""In the folder of a quantised stage: its layers, and which of them stay float, chosen before the first step."""


def file_list(plan: Plan, root: Path, *names: str) -> FileList:
    """The images of one or more list files under `root`. The paths in a list are relative to the list's own folder."""
    lists = [(Path(name).parent, read_list(root / name, (root / name).parent, plan.classes)) for name in names]
    paths = [os.path.join(folder, path) for folder, found in lists for path in found.paths]
    return FileList(paths, np.concatenate([found.labels for _, found in lists]), str(root))


def check_data(plan: Plan, root: Path, here: Runtime) -> None:
    """Read every list of every stage before the first step: what the last stage lacks must not show after days.

    Raises DataError, naming the stage, for what `read_list` finds, too few images for a batch, a batch that does not
    divide among the ranks, and images without a label where a loss learns from labels; RunError for mixed precision
    without a GPU.
    """
    for name, stage in plan.stages.items():
        if stage.optim.amp != "off" and here.gpu is None:
            raise RunError(f"stage {name}: optim.amp {stage.optim.amp} needs a GPU; set stages.{name}.optim.amp=off")
        try:
            files = file_list(plan, root, *stage.data.train)
            sampler.steps_per_epoch(len(files), stage.data.batch)
            sampler.micro_size(stage.data.batch, stage.optim.accumulate, here.world)
            refuse_scoring(root / stage.data.val)
            labelled(file_list(plan, root, stage.data.val), "every validation image needs one")
            for listed in stage.data.train if (files.labels >= 0).any() else ():
                compare_classes(root / stage.data.val, root / listed)
            if stage.needs_labels:
                labelled(files, "the loss learns from labels; use one that learns from the teacher, or other lists")
        except DataError as error:
            raise DataError(f"stage {name}: {error}") from None


def check_beforehand(plan: Plan, root: Path) -> None:
    """What no mining makes, the other lists and a card's weights, must be there before one begins: it may take weeks.

    Raises DataError that names the stage, RunError for the weights.
    """
    made = {f"{name}/{LIST}" for name in plan.prepare or {}}  # and those that were looked at
    for name, stage in plan.stages.items():
        for listed in sorted({*stage.data.train, stage.data.val} - made):
            try:
                file_list(plan, root, listed)
            except DataError as error:
                raise DataError(f"stage {name}: {error}") from None
            made.add(listed)
    if plan.teacher and plan.teacher.card:
        teacher_weights(plan.teacher.card, teacher_card(plan), plan.teacher.weights, "teacher.weights")


def labelled(files: FileList, why: str) -> None:
    """DataError, naming the first image without a label, if there is one."""
    if (files.labels < 0).any():
        raise DataError(f"{files.path(int((files.labels < 0).argmax()))}: has no label; {why}")


def loaders(plan: Plan, name: str, root: Path, here: Runtime) -> tuple[Loader, EvalLoader]:
    """The training and the validation images of a stage, this rank's share of them."""
    stage = plan.stages[name]
    files = file_list(plan, root, *stage.data.train)
    return train_loader(plan, name, files, here, stage.optim.accumulate), eval_loader(plan, stage, root, here)


def train_loader(plan: Plan, name: str, files: FileList, here: Runtime, accumulate: int) -> Loader:
    """The training images of a stage: fresh views in every epoch, or those of its label cache."""
    stage = plan.stages[name]
    data, cached = stage.data, stage.labels
    options: dict[str, Any] = {
        "accumulate": accumulate,
        "augment": data.augment,
        "seed": seed_of(plan.seed, name),
        "views": Views(seed_of("labels", cached.seed), cached.views) if cached else None,
    }
    return Loader(files, size=data.size, batch=data.batch, **options, **_pipeline(data, here))


def eval_loader(plan: Plan, stage: Stage, root: Path, here: Runtime, take: Any = None) -> EvalLoader:
    """Validation images with the stage's geometry; `take`: the number of an even selection, or positions."""
    data, files = stage.data, file_list(plan, root, stage.data.val)
    labelled(files, "every validation image needs one")
    if isinstance(take, int):
        take = sampler.evenly(take, len(files))
    return centre_crops(data, files if take is None else files.subset(take), here)


def teacher_loader(plan: Plan, stage: Stage, root: Path, here: Runtime, take: Any = None) -> EvalLoader:
    """A stage's validation images as the card of the teacher wants them; in a smoke run of the student's size."""
    given, smoke = teacher_card(plan).input, plan.scope == "smoke"
    size, resize = (plan.smoke.size,) * 2 if smoke else (given.size, given.resize)
    data = replace(stage.data, eval_size=size, eval_resize=resize, mean=given.mean, std=given.std)
    return eval_loader(plan, replace(stage, data=data), root, here, take)


def centre_crops(data: Data, files: FileList, here: Runtime) -> EvalLoader:
    """Images with the geometry of an evaluation."""
    return EvalLoader(files, size=data.crop, resize=data.resize, batch=data.eval_batch, **_pipeline(data, here))


def crops(plan: Plan, name: str, number: int, root: Path, here: Runtime) -> list[np.ndarray]:
    """Batches float32 [n, 3, S, S] of an even selection of the stage's training images, cropped as in an evaluation.

    Every rank has them all: what is set from them is the same everywhere.
    """
    data = plan.stages[name].data
    files = file_list(plan, root, *data.train)
    chosen = files.subset(sampler.evenly(number, len(files)))
    loader = centre_crops(data, chosen, Runtime(rank=0, world=1, gpu=here.gpu))
    return [batch["image"].numpy().copy() for batch in loader.batches()]


def _pipeline(data: Data, here: Runtime) -> dict[str, Any]:
    options: dict[str, Any] = {
        "mean": data.mean,
        "std": data.std,
        "interpolation": data.interpolation,
        "background": data.background,
        "threads": data.threads,
    }
    return options | {"rank": here.rank, "world": here.world, "device": here.gpu}


def stage_folder(plan: Plan, name: str, out: Path) -> Path:
    return out / "stages" / f"{name}-{plan.stage_digest(name)[:8]}"


def is_done(plan: Plan, name: str, out: Path) -> bool:
    return (stage_folder(plan, name, out) / "stage.json").is_file()


def teacher_card(plan: Plan) -> cards.TeacherCard:
    """The card of a teacher that this recipe does not train itself."""
    if plan.teacher is None or plan.teacher.card is None:
        raise RunError(f"{plan.name}: teacher.card is not given; name a card of teachers/")
    return cards.find_teacher(plan.teacher.card)


def build(plan: Plan, kind: str, size: int) -> nn.Layer:
    """The plan's 'student' or 'teacher' with fresh weights, the same for every stage of a seed."""
    if kind == "student":
        arch, momentum = plan.student.arch, plan.student.bn_momentum
    else:
        assert plan.teacher is not None
        arch, momentum = plan.teacher.arch or teacher_card(plan).arch, plan.teacher.bn_momentum
    seed_networks(plan.seed, "init", kind)
    network = models.create(arch, num_classes=plan.classes, in_size=size)
    for layer in network.sublayers() if momentum is not None else ():
        if hasattr(layer, "_momentum"):
            layer._momentum = momentum
    return network


def make_network(plan: Plan, name: str, out: Path) -> nn.Layer:
    """The network that a stage starts from: fresh, of given weights, or the result of the stage that `init` names."""
    stage = plan.stages[name]
    network = build(plan, stage.network, stage.data.size)
    if stage.continues:
        weights.load_into(network, stage_folder(plan, stage.continues, out) / "model.safetensors")
    elif stage.init == "pretrained":
        start_pretrained(plan, network)
    return network


def trained_network(plan: Plan, name: str, out: Path) -> nn.Layer:
    """The result of a finished stage, in evaluation mode; of a quantised one the network that rounds."""
    stage, folder = plan.stages[name], stage_folder(plan, name, out)
    network = build(plan, stage.network, stage.data.crop)
    if stage.quantize:
        quantize.quantise(network, noted(folder)["kept_float"])
    weights.load_into(network, folder / "model.safetensors")
    network.eval()
    return network


def noted(folder: Path) -> dict[str, Any]:
    """Of a stage in int8 its `layers`, those that stay float (`kept_float`), and the `sensitivity` of each in nats."""
    return json.loads((folder / QUANTIZE).read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Teacher:
    """A trained teacher, the input that it expects, and what computes its logits."""

    network: nn.Layer
    norm: str
    engine: str
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def on(self, stage: Stage, folder: Path, here: Runtime) -> TeacherLogits | EngineLogits:
        """Its logits for the images of a stage. What `engine: auto` chose stands in the stage's folder: a stage that
        is resumed goes on with the same engine, and so with the same bits."""
        data, chosen = stage.data, folder / "teacher_engine"
        reads = stage.teacher_reads
        logits = TeacherLogits(self.network, self.norm, data, self.size, self.mean, self.std, reads)
        engine = chosen.read_text(encoding="utf-8") if chosen.is_file() else self.engine
        batch = sampler.micro_size(data.batch, stage.optim.accumulate, here.world)
        found = in_engine(logits, engine, data.size, batch, here)
        if engine == "auto":
            barrier(here)  # no rank reads what another one writes
            if here.main:
                with disk_errors(chosen):
                    folder.mkdir(parents=True, exist_ok=True)
                    write_whole(chosen, found.engine)
        return found


def load_teacher(plan: Plan, out: Path, root: Path, here: Runtime) -> Teacher:
    """The result of the recipe's own stage, or a card's weights that passed the gate (else RunError)."""
    teacher = plan.teacher
    if teacher is None:
        raise RunError(f"{plan.name}: a loss of this recipe needs a teacher; give teacher.card or teacher.stage")
    if teacher.stage:
        data = plan.stages[teacher.stage].data
        network = trained_network(plan, teacher.stage, out)
        return Teacher(network, teacher.norm, teacher.engine, data.size, data.mean, data.std)
    card = teacher_card(plan)
    network = build(plan, "teacher", card.input.size)
    if plan.scope == "smoke":
        note(f"teacher {teacher.card}: fresh weights and the student's size, this is a smoke run")
        return Teacher(network, teacher.norm, teacher.engine, plan.smoke.size, card.input.mean, card.input.std)
    weights.load_into(network, teacher_weights(str(teacher.card), card, teacher.weights, "teacher.weights"))
    if teacher.gate:
        pass_gate(plan, card, network, root, here)
    return Teacher(network, teacher.norm, teacher.engine, card.input.size, card.input.mean, card.input.std)


def pass_gate(plan: Plan, card: Any, network: nn.Layer, root: Path, here: Runtime) -> None:
    """Measure a teacher on a slice of the validation images, with its own input, and compare with its card."""
    assert plan.teacher is not None
    loader = teacher_loader(plan, next(iter(plan.stages.values())), root, here, take=plan.teacher.gate)
    images = int(sum_over_ranks(np.array([float(loader.images)]), here)[0])  # a short list holds fewer than asked for
    top1 = evaluate(network, loader, here)["top1"]
    note(f"teacher {plan.teacher.card}: {top1:.2f} top-1 on {images} validation images, its card says {card.top1:.2f}")
    gate(str(plan.teacher.card), top1, card.top1, images, plan.teacher.gate_points)
