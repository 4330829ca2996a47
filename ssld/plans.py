"""Load the plan of a recipe or of a run folder without PaddlePaddle: cards and source files are read as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssld.config import cards, recipe
from ssld.config.recipe import Plan
from ssld.deploy.engines.registry import ENGINES
from ssld.errors import UsageError

if TYPE_CHECKING:
    from ssld.distill.reuse import Trust


def trust_of(*, reuse: bool, fresh: bool) -> Trust:
    """Return which finished stages may be used again. Raises UsageError where both options are given."""
    if reuse and fresh:
        raise UsageError("run: --reuse and --fresh contradict each other; leave one of them out")
    return "any" if reuse else "none" if fresh else "equal"


def load_plan(source: str | Path | Mapping[str, object], overrides: Sequence[str], *, smoke: bool = False) -> Plan:
    """Return the plan of a recipe, and check more than its types: losses and their options, engines, networks, cards.

    `source` is the path of the recipe, its name on the shelf, or the recipe itself as a mapping. `overrides` are
    `key.path=value`. `smoke` shrinks the plan to one that runs in seconds on fake images. Raises RecipeError.
    """
    if isinstance(source, Mapping):
        plan = recipe.of_mapping(source, list(overrides), smoke=smoke)
    else:
        plan = recipe.load(source, list(overrides), smoke=smoke)
    of_minings = [step.engine for step in (plan.prepare or {}).values() if step.engine != "eager"]
    for engine in (*plan.bench.engines, *of_minings):
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
    """Return the folder that a run of this plan has among other runs.

    Its name is that of the plan with the first 8 digits of its digest.
    """
    return parent / f"{plan.name}-{plan.digest[:8]}"
