"""Run methods by pairs of networks by seeds, in which nothing but the method differs: `ssld grid`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from ssld import yaml_text
from ssld.commands import tune
from ssld.config import grid as grids
from ssld.config.grid import Grid
from ssld.config.keys import Tree
from ssld.config.recipe import Plan
from ssld.config.run_folder import RESULT
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.files import check_writable, write_whole, writing
from ssld.plans import load_plan, run_folder
from ssld.processes import SSLD, RunOptions, command_of_run, reserved, side_by_side
from ssld.progress import note, progress
from ssld.report import grid_results
from ssld.report.grid_results import Mode
from ssld.spec.choices import Device, WandbMode

RECIPES, RUNS, LOGS, SEARCHES = "recipes", "runs", "logs", "searches"


class Ran(TypedDict):
    """Say how many runs of a grid are finished, which failed, and where their numbers are."""

    finished: int
    failed: list[str]
    results: str


@dataclass(frozen=True)
class Cell:
    """Hold one run of a grid: a method on a pair with a seed, the recipe that says so, and the folder of the run."""

    pair: str
    method: str
    mode: Mode
    seed: int
    recipe: Path
    plan: Plan
    folder: Path

    @property
    def name(self) -> str:
        return ", ".join(filter(None, (self.pair, self.method, "tuned" * (self.mode == "tuned"), f"seed {self.seed}")))

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).is_file() and (self.folder / "report.html").is_file()


def grid(
    *,
    file: str,
    smoke: bool,
    tuned: bool,
    jobs: int,
    only: Sequence[str],
    out: str | None,
    experiments: str,
    ranks: str,
    device: Device,
    wandb: WandbMode,
    wandb_project: str,
    wandb_tags: tuple[str, ...],
    tensorboard: bool,
) -> Ran:
    """Run every method of a grid on every pair with every seed, `jobs` runs side by side.

    `file` is a grid file, or the name of one in recipes/grids; `only` names the methods that are run. With `tuned` each
    method has, on each pair, the values that are best on held-out training images, see `commands.tune`; else its own. A
    finished run is not repeated and a stopped one resumes. Each teacher is trained once, before the students. The
    numbers of every run are a line of `<experiments>/grids/<name>.csv`. Raises RecipeError, before anything is trained,
    for a method that another setting would make better or worse, and RunError where a teacher cannot be trained.
    """
    spec = grids.load(file)
    folder = Path(out) if out else Path("runs") / f"grid-{spec.name}{'-smoke' if smoke else ''}"
    target = folder if smoke else Path(experiments) / "grids"
    options = RunOptions(
        ranks=ranks,
        device=device,
        wandb=wandb,
        wandb_project=wandb_project,
        wandb_tags=(*wandb_tags, f"grid-{spec.name}"),
        tensorboard=tensorboard,
        smoke=smoke,
    )
    check_writable(target, RunError, "choose another --experiments")
    check_writable(folder, RunError, "choose another --out")
    work = Work(spec, folder, options, jobs, tuple(only))
    folder.mkdir(parents=True, exist_ok=True)
    with reserved(folder):
        work.check_fair()
        work.train([one for one in work.teachers.values() if not one.done], "teachers")
        if missing := [one.name for one in work.teachers.values() if not one.done]:
            raise RunError(f"{missing[0]}: did not finish; see {folder / LOGS}, mend it and repeat the command")
        if tuned:
            work.search()
        return work.run("tuned" if tuned else "default", target / f"{spec.name}.csv")


@dataclass(frozen=True)
class Work:
    """Run a grid in a folder. `only` are the methods that are run, all of them where it is empty."""

    grid: Grid
    folder: Path
    options: RunOptions
    jobs: int
    only: tuple[str, ...]

    @cached_property
    def methods(self) -> dict[str, Tree]:
        """Return all methods by name."""
        return grids.methods(self.grid)

    def is_run(self, name: str) -> bool:
        """Return whether this call runs a method."""
        return not self.only or name in self.only

    @cached_property
    def teachers(self) -> dict[str, Cell]:
        """Return the run of each teacher that a pair names."""
        used = {name for pair in self.grid.pairs.values() for name in pair.teachers}
        trees = {name: self.grid.teacher(name) for name in self.grid.teachers if name in used}
        return {name: self._cell("", name, "default", self.grid.seed, tree) for name, tree in trees.items()}

    def check_fair(self) -> None:
        """Raise RecipeError where the methods of a pair differ in what is no part of a method, or one is not there."""
        if wrong := next((name for name in self.only if name not in self.methods), None):
            raise RecipeError(f"--only {wrong}: no method of {self.grid.name}{did_you_mean(wrong, self.methods)}")
        for pair in self.grid.pairs:
            cells = {
                name: self._student(pair, name, "default", self.grid.seed, tree) for name, tree in self.methods.items()
            }
            if not self.options.smoke:
                grids.check_fair(self.grid, {name: cell.plan for name, cell in cells.items()})

    def students(self, mode: Mode) -> list[Cell]:
        """Return all runs of students of a mode, seed by seed, so that at any time every method and pair has as many.

        Of the tuned ones these are the methods whose search is finished.
        """
        return [
            self._student(pair, name, mode, seed, tree)
            for seed in self.grid.all_seeds
            for pair in self.grid.pairs
            for name, tree in (self.methods if mode == "default" else self._tuned(pair)).items()
        ]

    def search(self) -> None:
        """Search the values of every method on every pair with `ssld tune`, which looks at no validation image."""
        cells, commands = list[Cell](), list[list[str]]()
        for pair in self.grid.pairs:
            for name, method in self.methods.items():
                place = grids.searched(method)
                done = self._values(pair, name) is not None
                if place is None or name.startswith(grids.COMPANION) or done or not self.is_run(name):
                    continue
                cell = self._student(pair, name, "default", self.grid.seed, method)
                budget, share = self.grid.tune.budget, self.grid.tune.held_out
                words = ["--stage", place[0], "--term", place[1], "--budget", str(budget), "--held-out", f"{share:g}"]
                words += ["--device", self.options.device, "--wandb", "disabled"]
                words += ["--out", str(self._search(pair, name))]
                words += ["--smoke"] if self.options.smoke else []
                cells.append(cell)
                commands.append([*SSLD, "tune", str(cell.recipe), f"seed={cell.seed}", *words])
        for number in self._side_by_side(
            commands, [self._search(cell.pair, cell.method) for cell in cells], "searches"
        ):
            note(f"{cells[number].name}: its search failed; {self.folder / LOGS} says why")

    def run(self, mode: Mode, table: Path) -> Ran:
        """Run the students of a mode that are not finished; write the numbers of all that are, of both modes."""
        cells, failed = self.students(mode), list[str]()
        others = self.students("tuned" if mode == "default" else "default")
        chosen = [cell for cell in cells if self.is_run(cell.method)]
        rows = dict[Path, grid_results.Row]()  # a finished run is read once

        def write() -> None:
            done = [cell for cell in [*cells, *others] if cell.folder in rows or cell.done]
            for cell in done:
                if cell.folder not in rows:
                    rows[cell.folder] = grid_results.row(cell.pair, cell.method, cell.mode, cell.seed, cell.folder)
            grid_results.write(table, [rows[cell.folder] for cell in done])

        self.train([cell for cell in chosen if not cell.done], "students", failed, write)
        write()
        return {"finished": sum(cell.done for cell in chosen), "failed": failed, "results": str(table)}

    def train(
        self, cells: Sequence[Cell], label: str, failed: list[str] | None = None, ended: Callable[[], object] = list
    ) -> None:
        """Run cells side by side, and call `ended` after each; add the names of those that failed to `failed`."""
        commands = [
            command_of_run(str(cell.recipe), [f"seed={cell.seed}"], cell.folder, self.options) for cell in cells
        ]
        for number in self._side_by_side(commands, [cell.folder for cell in cells], label, ended):
            note(f"{cells[number].name}: failed; {self._log(cells[number].folder)} says why")
            if failed is not None:
                failed.append(cells[number].name)

    def _side_by_side(
        self,
        commands: Sequence[list[str]],
        folders: Sequence[Path],
        label: str,
        ended: Callable[[], object] = list,
    ) -> Iterator[int]:
        """Run commands side by side, and yield the number of each that failed."""
        with writing(self.folder / LOGS, RunError, "choose another --out"):
            (self.folder / LOGS).mkdir(exist_ok=True)
        logs = [self._log(folder) for folder in folders]
        with progress(len(commands), label, unit="runs") as bar:
            for count, (number, code) in enumerate(side_by_side(commands, logs, self.jobs), 1):
                if code:
                    yield number
                ended()
                bar.update(count)

    def _log(self, folder: Path) -> Path:
        return self.folder / LOGS / f"{folder.name}.log"

    def _search(self, pair: str, name: str) -> Path:
        """Return the folder of a search. With another budget it is another search."""
        return self.folder / SEARCHES / f"{pair}-{name}-{self.grid.tune.budget}".replace(" ", "-")

    def _values(self, pair: str, name: str) -> dict[str, object] | None:
        """Return the best values of a finished search by key, None where there is none."""
        file = (self._search(pair, name) / tune.PAGE).with_suffix(".json")
        return json.loads(file.read_text(encoding="utf-8")).get("best_values") if file.is_file() else None

    def _tuned(self, pair: str) -> dict[str, Tree]:
        """Return the methods with the values of their searches on a pair."""
        values = {name: self._values(pair, name) for name in self.methods}
        return {name: grids.with_values(self.methods[name], given) for name, given in values.items() if given}

    def _student(self, pair: str, name: str, mode: Mode, seed: int, method: Tree) -> Cell:
        runs = {teacher: str(cell.folder) for teacher, cell in self.teachers.items()}
        tree = self.grid.cell(pair, method, f"{name} tuned" if mode == "tuned" else name, runs)
        return self._cell(pair, name, mode, seed, tree)

    def _cell(self, pair: str, method: str, mode: Mode, seed: int, tree: Tree) -> Cell:
        """Write the recipe of a run, and return the run."""
        file = self.folder / RECIPES / f"{tree['name']}.yaml"
        text = yaml_text.dump(tree)
        with writing(file, RunError, "choose another --out"):
            file.parent.mkdir(exist_ok=True)
            if not (file.is_file() and file.read_text(encoding="utf-8") == text):
                write_whole(file, text)
        plan = load_plan(str(file), [f"seed={seed}"], smoke=self.options.smoke)
        return Cell(pair, method, mode, seed, file, plan, run_folder(plan, self.folder / RUNS))
