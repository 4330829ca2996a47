"""Run a recipe from its first stage to its report, in one process or several, with one seed or several: `ssld run`."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from ssld.api import FinishedRun, RunResult
from ssld.plans import load_plan, run_folder, trust_of
from ssld.processes import RunOptions, count_ranks, is_rank, run_ranks
from ssld.seeds import SeedRuns, run_seeds
from ssld.spec.choices import Device, WandbMode


def run(
    *,
    recipe: str,
    overrides: Sequence[str],
    smoke: bool,
    out: str | None,
    ranks: str,
    device: Device,
    wandb: WandbMode,
    wandb_project: str,
    wandb_tags: tuple[str, ...],
    tensorboard: bool,
    seeds: int,
    experiments: str,
    reuse: bool,
    fresh: bool,
    argv: Sequence[str],
) -> FinishedRun | SeedRuns | None:
    """Run every stage of a recipe, then export, measure and report. The same call resumes.

    `out` is the run folder; with several seeds it is the folder of the run folders, and their results are recorded in
    `experiments`. Finished stages are used again where all that made them is the same; `reuse` insists on it, `fresh`
    trains every stage anew. `argv` holds the words behind `ssld` as they were typed: with several ranks each of them is
    started with the same words. It returns None in such a rank, whose result the process that started it returns. It
    raises RecipeError for a recipe that does not hold, and RunError, DataError, WeightsError or DeployError where a
    stage or what follows it cannot be done.
    """
    trust = trust_of(reuse=reuse, fresh=fresh)
    plan = load_plan(recipe, overrides, smoke=smoke)
    if seeds > 1:
        options = RunOptions(
            ranks=ranks,
            device=device,
            wandb=wandb,
            wandb_project=wandb_project,
            wandb_tags=wandb_tags,
            tensorboard=tensorboard,
            smoke=smoke,
            reuse=reuse,
        )
        return run_seeds(
            plan, recipe, overrides, seeds=seeds, out=out, experiments=experiments, options=options, anew=fresh
        )
    folder, count = Path(out) if out else run_folder(plan, Path("runs")), count_ranks(ranks, device)
    if count > 1 and not is_rank():
        result = run_ranks(count, plan, argv, device, folder)
        return FinishedRun(folder, plan, cast(RunResult, result))
    from ssld.run import run_plan
    from ssld.runtime import start
    from ssld.track import Options

    loggers = Options(wandb=wandb, project=wandb_project, tags=wandb_tags, tensorboard=tensorboard)
    result = run_plan(plan, folder, start(device), loggers, trust)
    return None if is_rank() else FinishedRun(folder, plan, cast(RunResult, result), device)
