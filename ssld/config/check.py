"""What the parts of a recipe need of each other, checked before anything runs."""

from typing import Any

from ssld.config.optim import check_apart, check_optim
from ssld.config.pool import check_mine
from ssld.config.quantize import check_quantize
from ssld.errors import RecipeError


def check_parts(plan: Any, where: str) -> None:
    """RecipeError for the first part of a plan that cannot be run as it says."""
    check_teachers(plan, where)
    check_engine(plan, where)
    check_labels(plan, where)
    check_quantize(plan, where)
    check_pretrained(plan, where)
    for name, stage in plan.stages.items():
        check_optim(stage.optim, f"{where}: stages.{name}.optim.")
        check_apart(stage.optim, stage.loss, stage.quantize is not None, f"{where}: stages.{name}.")
        if stage.optim.stage_lr and stage.train == "head":
            at = f"{where}: stages.{name}.optim.stage_lr"
            raise RecipeError(f"{at}: train: head updates the last layer alone, which has 1; leave it out")
    for name, step in (plan.prepare or {}).items():
        check_mine(step, f"{where}: prepare.{name}.")


def check_teachers(plan: Any, where: str) -> None:
    """RecipeError unless every stage that learns from a teacher has one, trained before it."""
    earlier: set[str] = set()
    for name, stage in plan.stages.items():
        if stage.asks_teacher:
            if plan.teacher is None:
                raise RecipeError(f"{where}: stages.{name}.loss: learns from a teacher; the recipe has none, add one")
            if plan.teacher.stage and plan.teacher.stage not in earlier:
                what = f"learns from the teacher of stage {plan.teacher.stage!r}"
                raise RecipeError(f"{where}: stages.{name}.loss: {what}, which comes later; put that stage first")
        earlier.add(name)


def check_pretrained(plan: Any, where: str) -> None:
    """RecipeError unless the stages that start from given weights are the student's, and there are such weights."""
    if "pretrained" in plan.stages:
        raise RecipeError(f"{where}: stages.pretrained: init uses this name for given weights; choose another")
    starts = [name for name, stage in plan.stages.items() if stage.init == "pretrained"]
    for name in starts:
        if plan.stages[name].network != "student":
            raise RecipeError(f"{where}: stages.{name}.init: given weights are the student's; name a stage, or scratch")
        if plan.student.pretrained is None:
            what = f"stage {name} starts from it; give a weights file, or the name of a published training"
            raise RecipeError(f"{where}: student.pretrained: {what}")
    if plan.student.pretrained is not None and not starts:
        raise RecipeError(f"{where}: student.pretrained: no stage starts from it; set init: pretrained in one")


def check_engine(plan: Any, where: str) -> None:
    """RecipeError for a teacher on batch statistics in an inference engine, which holds the running ones."""
    if plan.teacher and plan.teacher.engine != "eager" and plan.teacher.norm != "running":
        what = f"{plan.teacher.engine} has the running statistics built in"
        raise RecipeError(f"{where}: teacher.engine: {what}; set teacher.norm: running, or teacher.engine: eager")


def check_labels(plan: Any, where: str) -> None:
    """RecipeError for a label cache that no teacher fills, whose logits would depend on the batch, or of no size."""
    for name, stage in plan.stages.items():
        at, labels = f"{where}: stages.{name}.labels", stage.labels
        if labels is None:
            continue
        if not stage.is_taught:
            raise RecipeError(f"{at}: no loss of this stage learns from a teacher; set labels: null")
        if stage.asks_teacher and plan.teacher.norm != "running":
            what = "with teacher.norm: batch the logits of an image depend on the others of its batch"
            raise RecipeError(f"{at}: {what}; set teacher.norm: running, or labels: null")
        if labels.views < 1 or (labels.k is not None and not 1 <= labels.k <= plan.classes):
            what = f"{labels.views} views, k {labels.k}"
            raise RecipeError(f"{at}: {what}; give 1 view or more, and a k from 1 to {plan.classes}")
