"""Run a sweep, one `ssld run` after the other, or write it as W&B runs it: `ssld sweep`."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

from ssld import yaml_text
from ssld.config import sweep as sweeps
from ssld.config.recipe import Plan
from ssld.config.sweep import Sweep, Trial
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.files import check_writable, write_whole, writing
from ssld.plans import load_plan, run_folder
from ssld.processes import RunOptions
from ssld.report import ledger
from ssld.report.summary import names, summary
from ssld.report.trials import ordered, write_trials
from ssld.spec.choices import Device, WandbMode
from ssld.trials import run_trials

CHECKED = 16  # number of random trials whose plans are checked before a sweep goes to W&B


class WandbSweep(TypedDict):
    """Name the file that `wandb sweep` takes, the command that starts the sweep with it, and what follows."""

    sweep: str
    start: str
    then: str


class LocalSweep(TypedDict):
    """Name the page of a sweep that ran here, and hold its rows, the best first."""

    report: str
    rows: list[dict[str, Any]]


def sweep(
    *,
    file: str,
    local: bool,
    count: int | None,
    seed: int,
    jobs: int,
    smoke: bool,
    out: str | None,
    experiments: str,
    ranks: str,
    device: Device,
    wandb: WandbMode,
    wandb_project: str,
    wandb_tags: tuple[str, ...],
    tensorboard: bool,
) -> WandbSweep | LocalSweep:
    """Run a sweep here (`local`), `jobs` trials at a time, or write it as a file for W&B.

    `file` is a sweep file, or the name of one in recipes/sweeps. `count` limits the trials, and `seed` is that of the
    values which method random draws. `out` is the folder of the run folders, or of the file for W&B; what is measured
    here is recorded in `experiments`. It raises RecipeError, before the first trial, for keys and values that do not
    hold, and RunError where no trial finished or a file cannot be written.
    """
    spec = sweeps.load(file)
    options = RunOptions(
        ranks=ranks,
        device=device,
        wandb=wandb,
        wandb_project=wandb_project,
        wandb_tags=wandb_tags,
        tensorboard=tensorboard,
        smoke=smoke,
    )
    parent = Path(out or "runs")
    if not local:
        return _write_wandb(spec, file, count, seed, parent, options)
    ledger_folder = parent / "smoke" if smoke else Path(experiments) / "sweeps"
    return _run_here(spec, file, count, seed, parent, ledger_folder, options, jobs)


def _write_wandb(spec: Sweep, file: str, count: int | None, seed: int, parent: Path, options: RunOptions) -> WandbSweep:
    """Write the sweep as a file that `wandb sweep` takes, and say what to type.

    It raises RecipeError for keys that the recipe lacks.
    """
    some = CHECKED if spec.method == "random" and count is None else count
    _plans(spec, sweeps.trials(spec, some, seed), options.smoke)
    words = [*(["--smoke"] if options.smoke else []), *(["--tensorboard"] if options.tensorboard else [])]
    words += ["--ranks", options.ranks, "--device", options.device]
    words += ["--wandb-tags", ",".join(options.wandb_tags)] if options.wandb_tags else []
    head = f"# Written by `ssld sweep {file}`\n"
    target = parent / f"{spec.name}.wandb.yaml"
    _write(target, head, head + yaml_text.dump(sweeps.wandb_tree(spec, count, words)))
    return {
        "sweep": str(target),
        "start": shlex.join(["wandb", "sweep", "--project", options.wandb_project, str(target)]),
        "then": "wandb agent SWEEP_ID, as the first command prints it; on as many machines as there are",
    }


def _run_here(
    spec: Sweep,
    file: str,
    count: int | None,
    seed: int,
    parent: Path,
    ledger_folder: Path,
    options: RunOptions,
    jobs: int,
) -> LocalSweep:
    """Run every trial, `jobs` at a time, a finished one not again; put each in the ledger and all of them in one table.

    A trial that fails, as one whose loss becomes NaN, leaves a row without numbers. It raises RecipeError before the
    first trial for keys and values that do not hold, RunError when none could finish; Ctrl-C ends the sweep.
    """
    trials = sweeps.trials(spec, count, seed)
    todo = _plans(spec, trials, options.smoke)
    options = replace(options, wandb_tags=(*options.wandb_tags, f"sweep-{spec.name}"))
    command = _command(file, count, seed, options.smoke)
    check_writable(ledger_folder, RunError, "choose another --experiments")
    rows: list[dict[str, Any]] = []
    hardware: set[str] = set()
    folders = [run_folder(plan, parent) for plan in todo]
    results = run_trials(spec.recipe, [sweeps.overrides(trial) for trial in trials], folders, options, jobs=jobs)
    for number, (trial, plan, result) in enumerate(zip(trials, todo, results, strict=True), 1):
        if result:
            hardware.add(result["hardware"])
            ledger.record(result, ledger_folder)
        rows.append(_row(number, trial, plan, spec.metric.name, result))
        facts = _about(spec, command, len(trials), plan.scope, sorted(hardware))
        page = write_trials(rows, ledger_folder / f"{spec.name}.md", facts)
    if not hardware:
        raise RunError(f"{spec.name}: none of {len(trials)} trials finished; run one of them alone to see why")
    return {"report": str(page), "rows": ordered(rows, spec.metric.name, spec.metric.goal)}


def _plans(spec: Sweep, trials: Sequence[Trial], smoke: bool) -> list[Plan]:
    """Return the plan of each trial.

    It raises RecipeError for one that does not hold, and for a metric that no run will have.
    """
    loaded = [load_plan(spec.recipe, sweeps.overrides(trial), smoke=smoke) for trial in trials]
    metrics = names(loaded[0])
    if spec.metric.name not in metrics:
        what = f"no number of a finished run is named {spec.metric.name!r}"
        hint = did_you_mean(spec.metric.name, metrics) or f"; one of {', '.join(metrics)}"
        raise RecipeError(f"{spec.name}: metric.name: {what}{hint}")
    return loaded


def _row(number: int, trial: Trial, plan: Plan, metric: str, result: dict[str, Any] | None) -> dict[str, Any]:
    """Return a line of the table; without a result its numbers are None."""
    values = summary(result) if result else {}
    numbers = {name: values.get(name) for name in dict.fromkeys((metric, "top1", "gain", "teacher_top1"))}
    shown = {key: value if isinstance(value, (int, float)) else json.dumps(value) for key, value in trial.items()}
    state = "finished" if result else "failed"
    return {"trial": number, **shown, **numbers, "state": state, "digest": plan.digest[:12]}


def _about(spec: Sweep, command: str, count: int, scope: str, hardware: list[str]) -> dict[str, Any]:
    """Return what stands on the page beside the table."""
    facts = {"name": spec.name, "recipe": spec.recipe, "method": spec.method, "command": command}
    return facts | {
        "metric": spec.metric.name,
        "goal": spec.metric.goal,
        "trials": count,
        "scope": scope,
        "hardware": hardware,
    }


def _command(file: str, count: int | None, seed: int, smoke: bool) -> str:
    """Return the command that runs the sweep again."""
    options = [f"--{name} {value}" for name, value in (("count", count), ("seed", seed)) if value]
    return " ".join(["ssld sweep", file, "--local", *options, *(["--smoke"] if smoke else [])])


def _write(file: Path, head: str, text: str) -> None:
    """Replace what the command wrote before, and nothing else."""
    if file.is_file() and not file.read_text(encoding="utf-8").startswith(head.split("`")[0]):
        raise RunError(f"{file}: was not written by `ssld sweep`; move it away, or choose another --out")
    with writing(file, RunError, "choose another --out"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
