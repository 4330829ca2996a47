"""The plan of a recipe or of a run folder. PaddlePaddle is not imported: cards and source files are read as text."""

from collections.abc import Sequence
from pathlib import Path

from ssld.config import cards, recipe
from ssld.config.recipe import Plan
from ssld.deploy.engines.registry import ENGINES


def load_plan(path: str, overrides: Sequence[str], *, smoke: bool = False) -> Plan:
    """The plan of a recipe, checked further than its types: losses and their options, engines, networks, cards.

    `overrides` are `key.path=value`; `smoke` shrinks the plan to seconds, on fake images. Raises RecipeError.
    """
    plan = recipe.load(path, list(overrides), smoke=smoke)
    for engine in plan.bench.engines:
        ENGINES.check(engine)
    if plan.student.arch:
        cards.find_student(plan.student.arch)
    for teacher in plan.all_teachers.values():
        if teacher.engine not in ("eager", "auto"):
            ENGINES.check(teacher.engine)
        if teacher.card or teacher.arch:
            cards.find_student(teacher.arch or cards.find_teacher(str(teacher.card)).arch)
    return plan


def run_folder(plan: Plan, parent: Path) -> Path:
    """The folder that a run of this plan has among other runs: its name, and the first 8 digits of its digest."""
    return parent / f"{plan.name}-{plan.digest[:8]}"
