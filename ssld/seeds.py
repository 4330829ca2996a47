"""This module runs a recipe with several seeds, one process after the other, and compares their results."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ssld.config import fresh
from ssld.config.recipe import Plan
from ssld.config.run_folder import read_result
from ssld.errors import RunError
from ssld.files import check_writable
from ssld.plans import load_plan, run_folder
from ssld.processes import RunOptions, run_alone


class SeedRuns(TypedDict):
    """Name the page that compares the seeds, and the folders of their runs."""

    report: str
    runs: list[str]


def run_seeds(
    first: Plan,
    recipe: str,
    overrides: Sequence[str],
    *,
    seeds: int,
    out: str | None,
    experiments: str,
    options: RunOptions,
    anew: bool = False,
) -> SeedRuns:
    """Run a recipe with `seeds` seeds, from that of its plan `first` on, and compare them in `experiments`.

    The run folders are in `out` (by default `runs`). Seeds that are finished are not run again, but with `anew`, see
    `config.fresh`. A smoke run is recorded beside its run folders instead. Where the folder has a REPORT.md, that page
    is written anew too. Raises RunError where a seed does not finish.
    """
    from ssld.report import ledger, published_and_measured  # these draw figures and are slow to import

    parent = Path(out or "runs")
    with_seed = {seed: [*overrides, f"seed={seed}"] for seed in range(first.seed, first.seed + seeds)}
    folders = {
        seed: run_folder(load_plan(recipe, words, smoke=options.smoke), parent) for seed, words in with_seed.items()
    }
    target = parent / "smoke" if options.smoke else Path(experiments)
    check_writable(target, RunError, "choose another --experiments")
    if anew:
        fresh.ask(folders.values())
    for seed, folder in folders.items():
        if run_alone(recipe, with_seed[seed], folder, options):
            raise RunError(f"seed {seed}: did not finish; the same command goes on from there")
    results = [read_result(folder) for folder in folders.values()]
    for result in results:
        ledger.record(result, target)
    command = " ".join(["ssld run", recipe, *overrides, f"--seeds {seeds}"])
    page = ledger.write_seed_report(results, target / f"{first.name}.md", command=command)
    if (target / published_and_measured.FILE).is_file():
        published_and_measured.write(target)
    return {"report": str(page), "runs": [str(folder) for folder in folders.values()]}
