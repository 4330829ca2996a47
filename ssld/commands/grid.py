"""Run methods by pairs of networks by seeds, in which nothing but the method differs: `ssld grid`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ssld import yaml_text
from ssld.config import grid as grids
from ssld.config.grid import Grid
from ssld.config.keys import Tree
from ssld.config.recipe import Plan
from ssld.config.run_folder import RESULT
from ssld.errors import RunError
from ssld.files import alone, check_writable, write_whole, writing
from ssld.plans import load_plan, run_folder
from ssld.processes import RunOptions, command_of_run, side_by_side
from ssld.progress import note, progress
from ssld.report import grid_results
from ssld.spec.choices import Device, WandbMode

RECIPES, RUNS, LOGS = "recipes", "runs", "logs"


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
    seed: int
    recipe: Path
    plan: Plan
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.pair}, {self.method}, seed {self.seed}"

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).is_file() and (self.folder / "report.html").is_file()


def grid(
    *,
    file: str,
    smoke: bool,
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

    `file` is a grid file, or the name of one in recipes/grids; `only` names the methods that are run. A finished run is
    not repeated and a stopped one resumes. Each teacher is trained once, before the students. The numbers of every run
    are a line of `<experiments>/grids/<name>.csv`. Raises RecipeError, before anything is trained, for a method that
    another setting would make better or worse, and RunError where a teacher cannot be trained.
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
    with ExitStack() as lock:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.enter_context(alone(folder, 0))
        except BlockingIOError:
            raise RunError(f"{folder}: another process is at work in it; let it end, or choose another --out") from None
        teachers = _teachers(spec, folder, smoke)
        cells = [cell for cell in _cells(spec, folder, teachers, smoke) if not only or cell.method in only]
        for _ in _train([one for one in teachers.values() if not one.done], folder, options, jobs, "teachers", []):
            pass
        if missing := [cell.name for cell in teachers.values() if not cell.done]:
            raise RunError(f"{missing[0]}: did not finish; see {folder / LOGS}, mend it and repeat the command")
        return _tried(spec, cells, folder, target, options, jobs)


def _tried(spec: Grid, cells: list[Cell], folder: Path, target: Path, options: RunOptions, jobs: int) -> Ran:
    """Run the students that are not finished, and write the numbers of all that are."""
    table, failed = target / f"{spec.name}.csv", list[str]()

    def write() -> None:
        rows = [grid_results.row(cell.pair, cell.method, cell.seed, cell.folder) for cell in cells if cell.done]
        grid_results.write(table, rows)

    for _ in _train([cell for cell in cells if not cell.done], folder, options, jobs, "students", failed):
        write()
    write()
    return {"finished": sum(cell.done for cell in cells), "failed": failed, "results": str(table)}


def _train(
    cells: list[Cell], folder: Path, options: RunOptions, jobs: int, label: str, failed: list[str]
) -> Iterator[None]:
    """Run cells side by side, and yield after each that has ended; add the names of those that failed to `failed`."""
    logs = [folder / LOGS / f"{cell.folder.name}.log" for cell in cells]
    with writing(folder / LOGS, RunError, "choose another --out"):
        (folder / LOGS).mkdir(exist_ok=True)
    commands = [command_of_run(str(cell.recipe), [f"seed={cell.seed}"], cell.folder, options) for cell in cells]
    with progress(len(cells), label, unit="runs") as bar:
        for ended, (number, code) in enumerate(side_by_side(commands, logs, jobs), 1):
            if code:
                failed.append(cells[number].name)
                note(f"{cells[number].name}: failed; {logs[number]} says why")
            bar.update(ended)
            yield


def _teachers(spec: Grid, folder: Path, smoke: bool) -> dict[str, Cell]:
    """Return the run of each teacher of a grid."""
    used = {name for pair in spec.pairs.values() for name in pair.teachers}
    return {
        name: _cell("", name, spec.seed, spec.teacher(name), folder, smoke) for name in spec.teachers if name in used
    }


def _cells(spec: Grid, folder: Path, teachers: Mapping[str, Cell], smoke: bool) -> list[Cell]:
    """Return all runs of students, seed by seed, so that what is there at any time has every method and pair.

    Raises RecipeError where the methods of a pair differ in what is no part of a method.
    """
    runs, cells = {name: str(cell.folder) for name, cell in teachers.items()}, list[Cell]()
    methods = grids.methods(spec)
    for seed in spec.all_seeds:
        for pair in spec.pairs:
            of_pair = [
                _cell(pair, name, seed, spec.cell(pair, method, name, runs), folder, smoke)
                for name, method in methods.items()
            ]
            if seed == spec.seed and not smoke:
                grids.check_fair(spec, {cell.method: cell.plan for cell in of_pair})
            cells += of_pair
    return cells


def _cell(pair: str, method: str, seed: int, tree: Tree, folder: Path, smoke: bool) -> Cell:
    """Write the recipe of a run, and return the run."""
    file = folder / RECIPES / f"{tree['name']}.yaml"
    text = yaml_text.dump(tree)
    with writing(file, RunError, "choose another --out"):
        file.parent.mkdir(exist_ok=True)
        if not (file.is_file() and file.read_text(encoding="utf-8") == text):
            write_whole(file, text)
    plan = load_plan(str(file), [f"seed={seed}"], smoke=smoke)
    return Cell(pair, method, seed, file, plan, run_folder(plan, folder / RUNS))
