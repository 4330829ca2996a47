"""This module runs the trials of a recipe, each a run with some keys changed, in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssld.errors import RunError
from ssld.files import writing
from ssld.processes import RunOptions, call, command_of_run, side_by_side
from ssld.progress import note
from ssld.report import ledger


def run_trials(
    recipe: str,
    trials: Sequence[Sequence[str]],
    folders: Sequence[Path],
    options: RunOptions,
    shared: Sequence[str] = (),
    jobs: int = 1,
) -> Iterator[dict[str, Any] | None]:
    """Yield the result of every trial in turn, None of one that failed, as one whose loss becomes NaN.

    trials: the overrides of each; shared: those of all, which come before. folders: where they run, side by side, so
    that stages that trials share are trained once. jobs: how many trials go on at a time; the first one runs alone,
    because the others take over the stages that they share with it. A finished trial is not run again, a stopped one
    resumes.
    """
    commands = [
        command_of_run(recipe, [*shared, *words], folder, options)
        for words, folder in zip(trials, folders, strict=True)
    ]
    ended = _one_by_one(commands, trials) if jobs == 1 else _side_by_side(commands, trials, folders, jobs)
    codes, following = dict[int, int](), 0
    for number, code in ended:
        codes[number] = code
        while following in codes:
            yield None if codes[following] else ledger.load(folders[following] / "result.json")
            following += 1


def _one_by_one(commands: Sequence[list[str]], trials: Sequence[Sequence[str]]) -> Iterator[tuple[int, int]]:
    for number, command in enumerate(commands):
        note(f"trial {number + 1} of {len(trials)}: {' '.join(trials[number])}")
        yield number, call(command)


def _side_by_side(
    commands: Sequence[list[str]], trials: Sequence[Sequence[str]], folders: Sequence[Path], jobs: int
) -> Iterator[tuple[int, int]]:
    logs = [folder.with_name(f"{folder.name}.log") for folder in folders]
    with writing(folders[0].parent, RunError, "choose another --out"):
        folders[0].parent.mkdir(parents=True, exist_ok=True)
    for first, last in ((0, 1), (1, len(commands))):
        for place, code in side_by_side(commands[first:last], logs[first:last], jobs):
            number = first + place
            how = f"failed; {logs[number]} says why" if code else "finished"
            note(f"trial {number + 1} of {len(trials)}: {' '.join(trials[number])}: {how}")
            yield number, code
