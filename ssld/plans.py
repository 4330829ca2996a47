"""The plan of a recipe or of a run folder. PaddlePaddle is not imported: cards and source files are read as text."""

from collections.abc import Sequence
from pathlib import Path

from ssld.config import cards, recipe
from ssld.config.recipe import Plan
from ssld.deploy.engines.registry import ENGINES
from ssld.errors import RunError
from ssld.paths import data_root


def load_plan(path: str, overrides: Sequence[str], *, smoke: bool = False) -> Plan:
    """The plan of a recipe, checked further than its types: losses and their options, engines, networks, cards.

    `overrides` are `key.path=value`; `smoke` shrinks the plan to seconds, on fake images. Raises RecipeError.
    """
    plan = recipe.load(path, list(overrides), smoke=smoke)
    for engine in plan.bench.engines:
        ENGINES.check(engine)
    cards.find_student(plan.student.arch)
    if plan.teacher:
        if plan.teacher.engine not in ("eager", "auto"):
            ENGINES.check(plan.teacher.engine)
        cards.find_student(plan.teacher.arch or cards.find_teacher(plan.teacher.card or "").arch)
    return plan


def run_folder(plan: Plan, parent: Path) -> Path:
    """The folder that a run of this plan has among other runs: its name, and the first 8 digits of its digest."""
    return parent / f"{plan.name}-{plan.digest[:8]}"


def open_run(folder: Path) -> tuple[Plan, Path]:
    """The plan of a finished run, and the folder that its list files are relative to.

    Raises RunError where the folder holds no run, and where the run is not finished.
    """
    if not (folder / "plan.yaml").is_file():
        raise RunError(f"{folder}: no run here (no plan.yaml); give the folder that `ssld run` printed")
    if not (folder / "result.json").is_file():
        raise RunError(f"{folder}: this run is not finished; repeat its `ssld run` command")
    plan = recipe.of_run(folder)
    return plan, folder if plan.scope == "smoke" else data_root()
