"""Make the soft-label caches of a recipe: `ssld label`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssld.plans import load_plan, run_folder
from ssld.spec.choices import Device, WandbMode


def label(
    *,
    recipe: str,
    overrides: Sequence[str],
    smoke: bool,
    out: str | None,
    device: Device,
    verify: int,
    wandb: WandbMode,
    wandb_project: str,
    wandb_tags: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Make the soft-label caches of a recipe whole, and compare `verify` labels of each with the teacher (0: none).

    It returns a row for each stage that asks for a cache: the stage, the folder of the cache, its numbers of views and
    labels, the bytes of a label and, where labels were compared, the largest difference of a probability. It raises
    RecipeError for a recipe that does not hold, RunError where no stage asks for a cache or the teacher is not trained.
    """
    plan = load_plan(recipe, overrides, smoke=smoke)
    from ssld.run import label as make_caches
    from ssld.runtime import start
    from ssld.track import Options

    folder = Path(out) if out else run_folder(plan, Path("runs"))
    loggers = Options(wandb=wandb, project=wandb_project, tags=wandb_tags)
    return make_caches(plan, folder, start(device), verify, loggers)
