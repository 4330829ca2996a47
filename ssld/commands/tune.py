"""Find weight, temperature and options of a term of a loss on training images that are held out: `ssld tune`."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from ssld.config.recipe import Plan
from ssld.config.search import TEMPERATURE, axes_of, trials_of
from ssld.config.sweep import Trial
from ssld.config.sweep import overrides as words_of
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.files import is_empty, json_digest, write_whole, writing
from ssld.plans import load_plan, run_folder
from ssld.processes import RunOptions, reserved
from ssld.progress import note
from ssld.report import tuned
from ssld.spec.choices import Device, WandbMode
from ssld.trials import run_trials

TRIALS, LISTS, PAGE, MADE = "trials", "lists", "tune.md", "tune.made.json"
LEAST_FAKE = 16  # fake images of a smoke run that are labelled: four of each of four classes


class Tuned(TypedDict):
    """Hold what the trials say.

    values: those that are to be taken, by key, the recipe's own ones where no trial is better by more than chance.
    best: those of the trial that has most held-out images right. Both are overrides of `ssld run` too, and the page
    `report` has the lines of the recipe. held_out: the list of the held-out images.
    """

    verdict: str
    values: dict[str, object]
    overrides: list[str]
    best: dict[str, object]
    best_overrides: list[str]
    held_out: str
    rows: list[dict[str, Any]]
    report: str


def tune(
    *,
    recipe: str,
    overrides: Sequence[str],
    smoke: bool,
    term: str,
    stage: str | None,
    option: Sequence[str],
    budget: int,
    held_out: float,
    seed: int,
    jobs: int,
    out: str | None,
    ranks: str,
    device: Device,
    wandb: WandbMode,
    wandb_project: str,
    wandb_tags: tuple[str, ...],
    tensorboard: bool,
) -> Tuned:
    """Try `budget` values of a term's weight, temperature and named options, each as a run of the recipe.

    The share `held_out` of the labelled training images of each class, chosen by `seed`, leaves the training of every
    stage, and the students of all trials are compared on them, see `distill.held_out`. The recipe's own validation
    images are not looked at. `jobs` trials go on side by side. `stage` names the stage where several have the term.
    Lists, runs and the table are in `out`; a finished trial is not repeated, and a larger budget goes on where a
    smaller one ended. It raises RecipeError, before anything is trained, for a term, stage or option that is none,
    DataError for too few labelled images, RunError for a folder of another search, and where the recipe's own values do
    not finish.
    """
    plan = load_plan(recipe, overrides, smoke=smoke)
    stage = _stage_of(plan, term, stage, recipe)
    search = Search(recipe, tuple(overrides), plan, stage, term, tuple(option), budget, held_out, seed)
    search.check()
    folder = Path(out) if out else Path("runs") / f"{plan.name}-{term}-tune-{json_digest(search.made)[:8]}"
    options = RunOptions(
        ranks=ranks,
        device=device,
        wandb=wandb,
        wandb_project=wandb_project,
        wandb_tags=(*wandb_tags, f"tune-{term}"),
        tensorboard=tensorboard,
        smoke=smoke,
    )
    _claim(folder, search)
    with reserved(folder):
        return _tried(search, folder, options, jobs)


@dataclass(frozen=True)
class Search:
    """Say what is searched: the term of a stage of a recipe, its options beside weight and temperature, and how.

    budget: how many trials. share, seed: of the images that are held out.
    """

    recipe: str
    overrides: tuple[str, ...]
    plan: Plan
    stage: str
    term: str
    options: tuple[str, ...]
    budget: int
    share: float
    seed: int

    @property
    def smoke(self) -> bool:
        """Return whether the trials are smoke runs."""
        return self.plan.scope == "smoke"

    @property
    def place(self) -> str:
        """Return the key path of the term."""
        return f"stages.{self.stage}.loss.{self.term}"

    @property
    def made(self) -> dict[str, object]:
        """Return what a folder of trials belongs to. A budget is not part of it, since it can be raised."""
        options: dict[str, object] = {"term": self.place, "options": [*self.options]}
        return {"digest": self.plan.digest, **options, "held_out": self.share, "seed": self.seed}

    @cached_property
    def trials(self) -> list[Trial]:
        """Return the values of each trial. Raises RecipeError for an option that cannot be searched."""
        return trials_of(axes_of(self.plan.stages[self.stage].loss[self.term], self.place, self.options), self.budget)

    def plans(self, shared: Sequence[str]) -> list[Plan]:
        """Return the plan of each trial, with overrides that all share. Raises RecipeError where one does not hold."""
        return [load_plan(self.recipe, [*shared, *words_of(trial)], smoke=self.smoke) for trial in self.trials]

    def check(self) -> None:
        """Check that every trial has a plan, and that the student comes from the stage.

        Raises RecipeError otherwise.
        """
        if f"{self.place}.{TEMPERATURE}" not in self.trials[0]:
            note(f"{self.place}: the loss has no temperature; what is searched is {', '.join(self.trials[0])}")
        if len(self.trials) < self.budget:
            note(f"{self.place}: there are {len(self.trials)} different trials, fewer than --budget {self.budget}")
        if len({plan.stage_digest(plan.last) for plan in self.plans(self.overrides)}) == 1:
            what = f"the student of the last stage, {self.plan.last}, does not come from this stage"
            raise RecipeError(f"{self.place}: {what}; choose one that leads to it")

    def command(self, out: Path) -> str:
        """Return the command that goes on with the search."""
        words = ["ssld", "tune", self.recipe, *self.overrides, "--term", self.term, "--stage", self.stage]
        words += [word for name in self.options for word in ("--option", name)]
        words += ["--budget", str(self.budget), "--held-out", f"{self.share:g}", "--seed", str(self.seed)]
        return shlex.join([*words, *(["--smoke"] if self.smoke else []), "--out", str(out)])


def _stage_of(plan: Plan, term: str, stage: str | None, recipe: str) -> str:
    """Return the stage whose term is searched. Raises RecipeError where it is not one stage, or has no such term."""
    having = [name for name, settings in plan.stages.items() if term in settings.loss]
    if stage is not None and stage not in plan.stages:
        raise RecipeError(f"--stage {stage}: {recipe} has no stage of this name{did_you_mean(stage, plan.stages)}")
    if stage is not None and stage not in having:
        own = ", ".join(plan.stages[stage].loss)
        raise RecipeError(f"--term {term}: stage {stage} of {recipe} has no term of this name; its terms: {own}")
    if not having:
        terms = list(dict.fromkeys(name for settings in plan.stages.values() for name in settings.loss))
        hint = did_you_mean(term, terms) or f"; its terms: {', '.join(terms)}"
        raise RecipeError(f"--term {term}: no stage of {recipe} has a term of this name{hint}")
    if stage is None and len(having) > 1:
        raise RecipeError(f"--term {term}: stages {', '.join(having)} of {recipe} have it; name one with --stage")
    return stage or having[0]


def _claim(folder: Path, search: Search) -> None:
    """Make the folder of a search, or check that it is that of this one. Raises RunError otherwise."""
    file, text = folder / MADE, json.dumps(search.made, indent=1) + "\n"
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise RunError(f"{folder}: holds another search ({MADE}); choose another --out")
    if not file.is_file() and folder.exists() and not is_empty(folder):
        raise RunError(f"{folder}: is not empty and holds no search; choose another --out")
    with writing(folder, RunError, "choose another --out"):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, text)


def _tried(search: Search, folder: Path, options: RunOptions, jobs: int) -> Tuned:
    """Hold images out, run every trial in turn, and say what they allow to choose."""
    from ssld.data import fake
    from ssld.distill.held_out import hold_out
    from ssld.distill.runs import Run
    from ssld.evaluation import images_right
    from ssld.run import prepare_sets
    from ssld.runtime import start

    runtime = start(options.device)
    run = Run.of_plan(search.plan, folder, runtime)
    if search.smoke:
        images = max(search.plan.smoke.images, LEAST_FAKE)
        fake(folder / "fake", min(search.plan.classes, 4), train=images, val=1, unlabelled=images)
    prepare_sets(run)
    held = hold_out(run, search.stage, folder / LISTS, search.share, search.seed)
    shared = [*search.overrides, *held.overrides(search.plan), "export.formats=[]"]
    plans = search.plans(shared)
    folders = [run_folder(plan, folder / TRIALS) for plan in plans]
    about = {
        "recipe": search.recipe,
        "term": search.term,
        "stage": search.stage,
        "trials": len(plans),
        "images": held.images,
        "trained": held.trained,
        "held_out": held.val,
        "share": search.share,
        "scope": search.plan.scope,
        "command": search.command(folder),
    }
    tried: list[tuned.Tried] = []
    results = run_trials(search.recipe, [words_of(trial) for trial in search.trials], folders, options, shared, jobs)
    for trial, plan, where, result in zip(search.trials, plans, folders, results, strict=True):
        if not (result or tried):
            raise RunError(f"{where}: the recipe's own values did not finish; mend that first, its line is above")
        tried.append(tuned.Tried(trial, images_right(where, runtime) if result else None, plan.digest))
        page = tuned.write(folder / PAGE, tried, search.place, about)
    choice = tuned.choose(tried)
    values, best = search.trials[choice.taken - 1], search.trials[choice.best - 1]
    return {
        "verdict": choice.verdict,
        "values": values,
        "overrides": words_of(values),
        "best": best,
        "best_overrides": words_of(best),
        "held_out": held.val,
        "rows": tuned.rows_of(tried, search.place),
        "report": str(page),
    }
