"""This module keeps what the runs of a grid have measured: one line of a CSV file for each run."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ssld.config.run_folder import METRICS, read_result
from ssld.errors import RunError
from ssld.files import read_lines, read_table, write_whole, writing

Row = dict[str, Any]
Mode = Literal["default", "tuned"]
"""Whether a method has its own values, or those that `ssld tune` has found."""
TEXT = ("pair", "method", "mode", "start", "teacher", "digest", "hardware")
"""These columns are text; all others are numbers."""
COLUMNS = (
    "pair", "method", "mode", "seed", "top1", "best", "test_top1", "epochs", "steps", "params", "start", "teacher",
    "digest", "hardware",
)  # fmt: skip
"""mode: `default` or `tuned`. top1: of the last step, percent of the validation images. best: the largest top-1 of any
evaluation of the last stage. test_top1: percent of the test images, where the recipe names any. epochs, steps: of all
stages. params: of the student as it is exported. start: beginning of the digest of the weights that its first training
began with. teacher: that of the weights that taught it."""
SHORT = 12  # digits of a digest


def row(pair: str, method: str, mode: Mode, seed: int, folder: Path) -> Row:
    """Return the numbers of a finished run. Raises RunError where a file of it is damaged."""
    result = read_result(folder)
    stages = list(result["stages"].values())
    records = read_lines(folder / METRICS, "repeat the `ssld grid` command")[0]
    last = [*result["stages"]][-1]
    tops = [line["top1"] for line in records if (line["stage"], line["kind"]) == (last, "eval")]
    first = next((stage for name, stage in result["stages"].items() if _trains(result, name)), stages[-1])
    return {
        "pair": pair,
        "method": method,
        "mode": mode,
        "seed": seed,
        "top1": result["top1"],
        "best": max([result["top1"], *tops]),
        "test_top1": result.get("test_top1"),
        "epochs": sum(stage["epochs"] for stage in stages),
        "steps": sum(stage["steps"] for stage in stages),
        "params": result["student"]["params"],
        "start": first.get("start", "")[:SHORT],
        "teacher": "+".join(sorted(_teachers(result))),
        "digest": result["digest"][:SHORT],
        "hardware": result["hardware"],
    }


def _trains(result: Row, stage: str) -> bool:
    """Return whether a stage trains the student itself."""
    return bool(result["plan"]["stages"][stage]["train"] != "helpers")


def _teachers(result: Row) -> list[str]:
    """Return the beginning of the sha256 of the weights of each teacher of a run, which are finished runs."""
    folders = [Path(teacher["run"]) for teacher in result["plan"]["teachers"].values()]
    return [next(reversed(read_result(folder)["stages"].values()))["sha256"][:SHORT] for folder in folders]


def write(file: Path, rows: Sequence[Row]) -> None:
    """Write the table, whole or not at all. Raises RunError where it cannot be written."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([{key: _cell(value) for key, value in one.items()} for one in rows])
    with writing(file, RunError, "choose another --experiments"):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, stream.getvalue())


def _cell(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


def read(file: Path) -> list[Row]:
    """Read the table. Raises RunError where it is damaged."""
    rows = read_table(file, COLUMNS, "`ssld grid` writes it anew")
    return [{key: value if key in TEXT else _number(value) for key, value in one.items()} for one in rows]


def _number(text: str | None) -> float | int | None:
    if not text:
        return None
    return float(text) if "." in text else int(text)
