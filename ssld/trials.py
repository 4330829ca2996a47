"""This module runs the trials of a recipe, each a run with some keys changed, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssld.processes import RunOptions, run_alone
from ssld.progress import note
from ssld.report import ledger


def run_trials(
    recipe: str,
    trials: Sequence[Sequence[str]],
    folders: Sequence[Path],
    options: RunOptions,
    shared: Sequence[str] = (),
) -> Iterator[dict[str, Any] | None]:
    """Yield the result of every trial in turn, None of one that failed, as one whose loss becomes NaN.

    trials: the overrides of each; shared: those of all, which come before. folders: where they run, side by side, so
    that stages that trials share are trained once. A finished trial is not run again, a stopped one resumes.
    """
    for number, (words, folder) in enumerate(zip(trials, folders, strict=True), 1):
        note(f"trial {number} of {len(trials)}: {' '.join(words)}")
        failed = run_alone(recipe, [*shared, *words], folder, options)
        yield None if failed else ledger.load(folder / "result.json")
