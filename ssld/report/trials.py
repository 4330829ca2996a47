"""This module writes the trials of a sweep in one table, sorted by its metric: Markdown, CSV and JSON."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from ssld.errors import RunError
from ssld.files import write_whole, writing
from ssld.spec.printable import in_code, in_markdown

Row = dict[str, Any]


def ordered(rows: list[Row], metric: str, goal: str) -> list[Row]:
    """Return the best trial first, and last, in the order of their numbers, those that have no result."""
    sign = -1 if goal == "maximize" else 1
    measured = [row for row in rows if row[metric] is not None]
    return sorted(measured, key=lambda row: (sign * row[metric], row["trial"])) + [
        row for row in rows if row[metric] is None
    ]


def write_trials(rows: list[Row], path: Path, about: Row) -> Path:
    """Write the page and beside it the same as .csv and .json; return the page.

    about: name, recipe, method, metric, goal, scope, trials (how many there will be), command, hardware. Raises
    RunError when a file cannot be written.
    """
    rows = ordered(rows, about["metric"], about["goal"])
    with writing(path, RunError, "choose another folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path.with_suffix(".csv"), csv_of(rows))
        write_whole(path.with_suffix(".json"), json.dumps({**about, "rows": rows}, indent=1) + "\n")
        write_whole(path, _page(rows, about))
    return path


def _page(rows: list[Row], about: Row) -> str:
    """Return the page in Markdown."""
    smoke = ["", "**A smoke run: its numbers mean nothing.**"] if about["scope"] == "smoke" else []
    text = [
        f"# {in_markdown(about['name'])}: {len(rows)} of {about['trials']} trials",
        "",
        "Generated from the results; do not edit.",
        *smoke,
        "",
        f"Sorted by `{about['metric']}` ({about['goal']}). Each trial is one run of one seed: neighbours in the table "
        "may differ by chance alone. `ssld run ... --seeds 5` of two of them says whether they do.",
        "",
        *table(rows),
        "",
        f"- recipe: {in_markdown(about['recipe'])}, method {about['method']}",
        f"- command: `{in_code(about['command'])}`",
        f"- hardware: {'; '.join(about['hardware'])}",
        f"- scope: {about['scope']}",
        "- failed: the run stopped, as one does whose loss becomes NaN; the command tries it again",
        *_without_gain(rows),
    ]
    return "\n".join(text) + "\n"


def _without_gain(rows: list[Row]) -> list[str]:
    """Return a line on finished trials that have no gain, where there are any."""
    if all(row.get("gain", 0) is not None for row in rows if row["state"] == "finished"):
        return []
    return ["- gain `-`: the run has no baseline to compare with; its report says why"]


def table(rows: list[Row]) -> list[str]:
    """Return the table in Markdown."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(map(in_markdown, columns)) + " |", "|" + "---|" * len(columns)]
    return [*lines, *("| " + " | ".join(_cell(key, row[key]) for key in columns) + " |" for row in rows)]


def _cell(key: str, value: Any) -> str:
    """Write a cell of the table."""
    if value is None:
        return "-"
    if key == "digest":
        return f"`{value}`"
    return in_markdown(f"{value:.4f}" if isinstance(value, float) and "." not in key else value)


def csv_of(rows: list[Row]) -> str:
    """Return the rows as CSV."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
