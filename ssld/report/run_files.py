"""This module reads the files of a run folder."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssld.errors import RunError

TEXT_COLUMNS = {"network", "engine", "precision", "span", "steady"}  # these columns of bench.csv are text
NEEDED = ("network", "engine", "precision", "batch", "size", "threads", "p50_ms", "images_per_second", "model_bytes")


@dataclass(frozen=True)
class Bench:
    """Hold the rows of a bench file, and the device they were measured on.

    own: whether a run measured them itself; its networks then go without the name of the run.
    """

    file: Path
    rows: list[dict[str, Any]]
    device: str
    own: bool = False


def result(file: Path) -> dict[str, Any]:
    """Read result.json. Raises RunError when it is missing or damaged."""
    if not file.is_file():
        raise RunError(f"{file}: no such file; the run is not finished, repeat its command")
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file}: is no JSON ({error}); remove it and repeat the run") from None


def contract(folder: Path, digest: str) -> dict[str, Any]:
    """Read the contract of the export of a run; {} without one, and for that of another run."""
    try:
        content = json.loads(text(folder / "contract.json") or "{}")
    except ValueError as error:
        raise RunError(f"{folder / 'contract.json'}: is no JSON ({error}); export the run again") from None
    return content if isinstance(content, dict) and content.get("digest") == digest else {}


def metrics(file: Path) -> list[dict[str, Any]]:
    """Read the records of metrics.jsonl, [] without the file. Raises RunError with the number of a damaged line."""
    records = []
    for line_number, line in enumerate(text(file).splitlines(), 1):
        try:
            records.append(json.loads(line))
        except ValueError:
            raise RunError(
                f"{file}: line {line_number} is no JSON; repeat the run's command, it mends a cut last line"
            ) from None
    return records


def bench(file: Path) -> list[dict[str, Any]]:
    """Read the rows of bench.csv, [] without the file.

    Every column but TEXT_COLUMNS is a number, None where it is empty. Raises RunError for a damaged row.
    """
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    try:
        return [{key: text if key in TEXT_COLUMNS else _numeric(text) for key, text in row.items()} for row in rows]
    except (ValueError, TypeError) as error:
        raise RunError(f"{file}: has a damaged row ({error}); repeat `ssld bench`") from None


def bench_file(file: Path, device: str | None = None) -> Bench:
    """Read what `ssld bench --csv` wrote: the CSV, or the JSON beside it.

    The JSON names the machine; without it the machine is `device`. Raises RunError for other files.
    """
    if not file.is_file():
        raise RunError(f"{file}: no such file; give one that `ssld bench --csv` wrote")
    beside = file.with_suffix(".json")
    try:
        content = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        rows = content["rows"] if file == beside else bench(file)
        machine = {"device": device or f"a machine that {file.name} does not name", **content.get("machine", {})}
        machine_name = ", ".join([machine["device"], *(card["name"] for card in machine.get("gpu", ()))])
        if rows and all(_is_row(row) for row in rows):
            return Bench(file, rows, machine_name)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error, RunError):
        pass
    raise RunError(f"{file}: is no bench file; give one that `ssld bench --csv` wrote, .csv or .json")


def _is_row(row: dict[str, Any]) -> bool:
    """Return whether a row has all columns that are needed, each of its type."""
    return all(isinstance(row[key], str if key in TEXT_COLUMNS else (int, float)) for key in NEEDED)


def _numeric(text: str) -> int | float | None:
    """Turn the text of a cell into a number, None where it is empty."""
    return (int(text) if text.isdigit() else float(text)) if text else None


def text(file: Path) -> str:
    """Read the text of a file; "" without the file."""
    return file.read_text(encoding="utf-8") if file.is_file() else ""
