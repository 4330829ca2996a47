"""This module says what trials on held-out images allow to choose, and writes their table: Markdown, CSV and JSON.

A figure beside the page shows them, see tuned_figure.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssld import yaml_text
from ssld.errors import RunError
from ssld.files import write_whole, writing
from ssld.report.image_statistics import accuracy, gap, is_clear
from ssld.report.seed_statistics import p_value
from ssld.report.trials import csv_of, table
from ssld.report.tuned_figure import figure
from ssld.spec.printable import in_code, in_markdown

Row = dict[str, Any]
SMOKE = "**A smoke run: its numbers mean nothing. Each trial was evaluated on fake images of its own.**"
NUMBERS = ("top1", "low", "high", "difference", "difference_low", "difference_high", "p")


@dataclass(frozen=True)
class Tried:
    """Hold a trial: its values by key, which held-out images it has right, bool [n], and the digest of its plan.

    right is None where the trial failed.
    """

    values: Mapping[str, object]
    right: np.ndarray | None
    digest: str


@dataclass(frozen=True)
class Choice:
    """Hold what the trials allow to choose. The first one has the recipe's own values.

    best: the number of the trial that has most images right, the first one of equals. taken: that number where it is
    better by more than chance, else 1. verdict: why, in a sentence.
    """

    best: int
    taken: int
    verdict: str


def rows_of(tried: Sequence[Tried], place: str) -> list[Row]:
    """Return a row for each trial: percent of top-1, and the difference from the recipe's own values in points.

    place: the key path of the term, in whose place its name stands.
    """
    first, short, rows = tried[0].right, place.rpartition(".")[2], []
    for number, one in enumerate(tried, 1):
        numbers: Row = dict.fromkeys(NUMBERS)
        if one.right is not None:
            own = accuracy(one.right)
            numbers |= {"top1": own.top1, "low": own.low, "high": own.high}
        if one.right is not None and first is not None and number > 1:
            beside = gap(one.right, first)
            numbers |= {"difference": beside.points, "difference_low": beside.low, "difference_high": beside.high}
            numbers["p"] = beside.p
        values = {f"{short}{key.removeprefix(place)}": value for key, value in one.values.items()}
        values = {key: value if isinstance(value, (int, float)) else json.dumps(value) for key, value in values.items()}
        state = "failed" if one.right is None else "finished"
        rows.append({"trial": number, **values, **numbers, "state": state, "digest": one.digest[:12]})
    return rows


def choose(tried: Sequence[Tried]) -> Choice:
    """Choose a trial; the first one, with which all others are compared, is finished."""
    first = tried[0].right
    assert first is not None
    rights = {number: one.right for number, one in enumerate(tried, 1) if one.right is not None}
    best, others = max(rights, key=lambda number: (rights[number].sum(), -number)), len(rights) - 1
    if best == 1:
        what = (
            f"None of the others that finished ({others}) has more held-out images right"
            if others
            else "No other trial finished"
        )
        return Choice(best, 1, f"{what}: the recipe's own values stay.")
    beside = gap(rights[best], first)
    numbers = (
        f"{beside.points:+.2f} points, 95 % interval {beside.low:+.2f} to {beside.high:+.2f}; {beside.only_ours} "
        f"images are right with it alone and {beside.only_theirs} with the recipe's own values alone"
    )
    tested = f"p = {p_value(beside.p)} (McNemar), {p_value(min(1.0, others * beside.p))} as the best of {others}"
    if is_clear(beside.p, others):
        return Choice(best, best, f"Trial {best} is better than the recipe's own values: {numbers}; {tested}.")
    within = f"Trial {best} has most images right, but within the noise of {len(first)} images: {numbers}; {tested}."
    return Choice(best, 1, f"{within} The recipe's own values stay.")


def lines_of(values: Mapping[str, object]) -> str:
    """Return values by key path as the lines of a recipe."""
    tree: dict[str, Any] = {}
    for key, value in values.items():
        block, path = tree, key.split(".")
        for name in path[:-1]:
            block = block.setdefault(name, {})
        block[path[-1]] = value
    return yaml_text.dump(tree)


def write(file: Path, tried: Sequence[Tried], place: str, about: Row) -> Path:
    """Write the page of the trials so far, its figure, and the same beside it as .csv and .json; return the page.

    about: recipe, term, stage, trials (how many there will be), images, trained, held_out (its list), share, scope,
    command. Raises RunError where a file cannot be written.
    """
    rows, choice = rows_of(tried, place), choose(tried) if len(tried) == about["trials"] else None
    facts = {**about, "rows": rows} | ({"best": choice.best, "taken": choice.taken} if choice else {})
    facts |= {"verdict": choice.verdict, "values": dict(tried[choice.taken - 1].values)} if choice else {}
    facts |= {"best_values": dict(tried[choice.best - 1].values)} if choice else {}
    keys = [key for key in rows[0] if key not in ("trial", *NUMBERS, "state", "digest")]
    drawn = figure(f"Held-out top-1 of the trials of {about['term']}", rows, keys, choice.best if choice else 1)
    with writing(file, RunError, "choose another --out"):
        write_whole(file.with_suffix(".csv"), csv_of(rows))
        write_whole(file.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        if drawn:
            write_whole(file.with_suffix(".svg"), drawn)
        write_whole(file, _page(rows, tried, choice, about, file.with_suffix(".svg").name if drawn else None))
    return file


def _page(
    rows: list[Row], tried: Sequence[Tried], choice: Choice | None, about: Row, picture: str | None = None
) -> str:
    title = f"{in_markdown(about['term'])} of {in_markdown(about['recipe'])}"
    smoke = [SMOKE, ""] if about["scope"] == "smoke" else []
    lines = [
        f"# {title}: {len(rows)} of {about['trials']} trials",
        "",
        "Generated from the trials; do not edit.",
        "",
        *smoke,
    ]
    lines += [_chosen(tried, choice) if choice else "Not finished: the command goes on with the next trial.", ""]
    lines += [
        f"Top-1 is of {about['images']:,} labelled training images, which no stage of a trial is trained with; "
        f"{about['trained']:,} stay. The validation images are not looked at. Intervals are of 95 % over the images "
        "(Wilson; of differences on the same images Agresti and Min). Every trial has the same seed, and the intervals "
        "say nothing of other seeds.",
        "",
        *([f"![Held-out top-1 over the searched values]({picture})", ""] if picture else []),
        *table(rows),
        "",
        f"- term: `{in_code(about['term'])}` of stage `{in_code(about['stage'])}`",
        f"- held out: {about['share']:.3g} of each class, `{in_code(about['held_out'])}`",
        f"- command: `{in_code(about['command'])}`",
        f"- scope: {about['scope']}",
    ]
    return "\n".join(lines) + "\n"


def _chosen(tried: Sequence[Tried], choice: Choice) -> str:
    """Return the verdict, and the lines of the values that it takes, or of the best ones where it takes none."""
    if choice.best == 1:
        return choice.verdict
    what = "Put them into the recipe" if choice.taken > 1 else f"The values of trial {choice.best}, all the same"
    return f"{choice.verdict}\n\n{what}:\n\n```yaml\n{lines_of(tried[choice.best - 1].values)}```"
