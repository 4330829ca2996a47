"""Whom a mining asks: the teacher of a card, or the one that a run trained."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from ssld.config import cards, cost, recipe
from ssld.config.cards import Input
from ssld.config.pool import Mine
from ssld.distill.scorer import CLASSES, Trained, classes_of, teacher_weights
from ssld.distill.setup import is_done, stage_folder
from ssld.errors import RunError


@dataclass(frozen=True)
class OfRun:
    """The teacher that a run trained, as `Trained`."""

    arch: str
    top1: float
    input: Input


def trained(step: Mine) -> tuple[Trained, Path]:
    """The teacher of a step, of a card or of a run folder, and its weights file. RunError as `teacher_weights` and
    `of_run` say."""
    if not cost.is_run(step.teacher):
        card = cards.find_teacher(step.teacher)
        return replace(card, input=_seen(card.input, step)), teacher_weights(step.teacher, card, step.weights)
    if step.weights:
        raise RunError(f"teacher {step.teacher}: a run has its own weights; leave weights out, or give a card")
    of, file = of_run(Path(step.teacher))
    return replace(of, input=_seen(of.input, step)), file


def known(step: Mine) -> tuple[Trained, int]:
    """The teacher of a step and its number of classes; the weights of a card need not be there."""
    if not cost.is_run(step.teacher):
        return cards.find_teacher(step.teacher), CLASSES
    card, file = of_run(Path(step.teacher))
    return card, classes_of(file)


def _seen(given: Input, step: Mine) -> Input:
    """The input of a teacher, with the background that the step names."""
    return replace(given, background=step.background) if step.background else given


def of_run(folder: Path) -> tuple[OfRun, Path]:
    """The teacher that the run of a folder trained, and its weights file. RunError where it has trained none."""
    plan = recipe.of_run(folder)
    name = plan.teacher.stage if plan.teacher else None
    if name is None or not is_done(plan, name, folder):
        raise RunError(f"teacher {folder}: this run has trained no teacher; give another run, or a card")
    data, stage = plan.stages[name].data, stage_folder(plan, name, folder)
    top1 = json.loads((stage / "stage.json").read_text(encoding="utf-8"))["top1"]
    given = Input(size=data.crop, resize=data.resize, mean=data.mean, std=data.std, background=data.background)
    assert plan.teacher is not None
    return OfRun(str(plan.teacher.arch), top1, given), stage / "model.safetensors"
