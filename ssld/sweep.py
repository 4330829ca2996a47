"""`ssld sweep`: a sweep as W&B runs it, or here, one `ssld run` after the other."""

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from ssld.config import parse, sweep
from ssld.config.recipe import Plan
from ssld.config.sweep import Sweep, Trial
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.files import write_whole
from ssld.launch import run_alone
from ssld.listing import load_plan
from ssld.progress import note
from ssld.report import ledger, trials
from ssld.report.summary import names, summary

CHECKED = 16  # random trials whose plans are checked before a sweep goes to W&B


def write_wandb(args: argparse.Namespace) -> dict[str, str]:
    """The sweep as a file that `wandb sweep` takes, and what to type. RecipeError for keys that the recipe lacks."""
    spec = sweep.load(args.file)
    some = CHECKED if spec.method == "random" and args.count is None else args.count
    plans(spec, sweep.trials(spec, some, args.seed), args.smoke)
    options = [*(["--smoke"] if args.smoke else []), *(["--tensorboard"] if args.tensorboard else [])]
    options += [word for name in ("ranks", "device") for word in (f"--{name}", getattr(args, name))]
    options += ["--wandb-tags", args.wandb_tags] if args.wandb_tags else []
    head = f"# Written by `ssld sweep {args.file}`\n"
    file = Path(args.out or "runs") / f"{spec.name}.wandb.yaml"
    _write(file, head, head + parse.to_yaml(sweep.wandb_tree(spec, args.count, options)))
    agent = "wandb agent SWEEP_ID, as the first command prints it; on as many machines as there are"
    return {
        "sweep": str(file),
        "start": shlex.join(["wandb", "sweep", "--project", args.wandb_project, str(file)]),
        "then": agent,
    }


def run_here(args: argparse.Namespace) -> dict[str, Any]:
    """Every trial in turn, a finished one not again; its result in the ledger, all of them in one table.

    A trial that fails, as one whose loss becomes NaN, leaves a row without numbers. Raises RecipeError before the first
    trial for keys and values that do not hold, RunError when none could finish; Ctrl-C ends the sweep.
    """
    spec = sweep.load(args.file)
    found = sweep.trials(spec, args.count, args.seed)
    todo = plans(spec, found, args.smoke)
    out = Path(args.out or "runs")
    kept = out / "smoke" if args.smoke else Path(args.experiments) / "sweeps"
    args.wandb_tags = ",".join(filter(None, [args.wandb_tags, f"sweep-{spec.name}"]))
    rows: list[dict[str, Any]] = []
    hardware: set[str] = set()
    for number, (trial, plan) in enumerate(zip(found, todo, strict=True), 1):
        typed = sweep.overrides(trial)
        note(f"trial {number} of {len(found)}: {' '.join(typed)}")
        folder = out / f"{plan.name}-{plan.digest[:8]}"
        result = None if run_alone(spec.recipe, typed, folder, args) else ledger.load(folder / "result.json")
        if result:
            hardware.add(result["hardware"])
            ledger.record(result, kept)
        rows.append(row(number, trial, plan, spec.metric.name, result))
        about = describe(spec, args, len(found), plan.scope, sorted(hardware))
        page = trials.write_trials(rows, kept / f"{spec.name}.md", about)
    if not hardware:
        raise RunError(f"{spec.name}: none of {len(found)} trials finished; run one of them alone to see why")
    return {"report": str(page), "rows": trials.ordered(rows, spec.metric.name, spec.metric.goal)}


def plans(spec: Sweep, found: list[Trial], smoke: bool) -> list[Plan]:
    """The plan of each trial. RecipeError for one that does not hold, and for a metric that no run will have."""
    loaded = [load_plan(spec.recipe, sweep.overrides(trial), smoke=smoke) for trial in found]
    known = names(loaded[0])
    if spec.metric.name not in known:
        what = f"no number of a finished run is named {spec.metric.name!r}"
        hint = did_you_mean(spec.metric.name, known) or f"; one of {', '.join(known)}"
        raise RecipeError(f"{spec.name}: metric.name: {what}{hint}")
    return loaded


def row(number: int, trial: Trial, plan: Plan, metric: str, result: dict[str, Any] | None) -> dict[str, Any]:
    """A line of the table; without a result its numbers are None."""
    values = summary(result) if result else {}
    numbers = {name: values.get(name) for name in dict.fromkeys((metric, "top1", "gain", "teacher_top1"))}
    shown = {key: value if isinstance(value, (int, float)) else json.dumps(value) for key, value in trial.items()}
    state = "finished" if result else "failed"
    return {"trial": number, **shown, **numbers, "state": state, "digest": plan.digest[:12]}


def describe(spec: Sweep, args: argparse.Namespace, count: int, scope: str, hardware: list[str]) -> dict[str, Any]:
    """What stands on the page beside the table."""
    options = [f"--{name} {value}" for name, value in (("count", args.count), ("seed", args.seed)) if value]
    options += ["--smoke"] if args.smoke else []
    command = " ".join(["ssld sweep", args.file, "--local", *options])
    about = {"name": spec.name, "recipe": spec.recipe, "method": spec.method, "command": command}
    return about | {
        "metric": spec.metric.name,
        "goal": spec.metric.goal,
        "trials": count,
        "scope": scope,
        "hardware": hardware,
    }


def _write(file: Path, head: str, text: str) -> None:
    """Replaces what the command wrote before, nothing else."""
    if file.is_file() and not file.read_text(encoding="utf-8").startswith(head.split("`")[0]):
        raise RunError(f"{file}: was not written by `ssld sweep`; move it away, or choose another --out")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)
    except OSError as error:
        raise RunError(f"{file}: cannot be written ({error.strerror}); choose another --out") from None
