"""This module reads the files of a run folder for its page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssld.config.run_folder import AGAIN, METRICS, PLAN, read_plan
from ssld.errors import RunError
from ssld.files import check_content, damaged, json_digest, read_arrays, read_json, read_lines, read_table
from ssld.progress import note

TEXT_COLUMNS = {"network", "engine", "precision", "span", "steady"}  # these columns of bench.csv are text
BENCH, SAMPLES = "bench.csv", "samples.npz"
NEEDED = ("network", "engine", "precision", "batch", "size", "threads", "p50_ms", "images_per_second", "model_bytes")


GIVE = "give one that `ssld bench --csv` wrote, .csv or .json"


@dataclass(frozen=True)
class Bench:
    """Hold the rows of a bench file, and the device they were measured on.

    own: whether a run measured them itself; its networks then go without the name of the run.
    """

    file: Path
    rows: list[dict[str, Any]]
    device: str
    own: bool = False


def metrics(folder: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of metrics.jsonl, [] without the file.

    The records of a stage that are not those that its result names are left out, and a line on standard error says so.
    Raises RunError for a damaged line.
    """
    file, advice = folder / METRICS, "remove the file, with which only the curves of the page are lost"
    records = read_lines(file, advice)[0] if file.exists() else []
    for number, record in enumerate(records, 1):
        if not {"kind", "stage", "step"} <= record.keys():
            raise damaged(file, f"line {number} is no record of a run", advice)
    changed = []
    for name, stage in result["stages"].items():
        of_stage = [record for record in records if record["stage"] == name]
        if stage.get("curve") not in (None, {"records": len(of_stage), "sha256": json_digest(of_stage)}):
            changed.append(name)
    if changed:
        note(f"{file}: it does not hold what was logged of {', '.join(changed)}; the page is without these curves")
    return [record for record in records if record["stage"] not in changed]


def contract(folder: Path) -> dict[str, Any]:
    """Return the contract of the export of a run, {} without one. Raises RunError where it is damaged."""
    file = folder / "export" / "contract.json"
    return read_json(file, "`ssld export` of this run writes it anew") if file.exists() else {}


def bench(folder: Path, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of bench.csv, without the file those that the result holds.

    Every column but TEXT_COLUMNS is a number, None where it is empty. Raises RunError where the file is damaged.
    """
    file = folder / BENCH
    if not file.exists():
        return result.get("bench") or []
    check(file, result)
    return bench_rows(file, AGAIN)


def bench_rows(file: Path, advice: str) -> list[dict[str, Any]]:
    """Return the rows of a bench file. Raises RunError, whose message ends with `advice`, where it is damaged."""
    rows = read_table(file, NEEDED, advice)
    try:
        return [{key: text if key in TEXT_COLUMNS else _numeric(text) for key, text in row.items()} for row in rows]
    except ValueError as error:
        raise damaged(file, error, advice) from None


def samples(folder: Path, result: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of samples.npz, {} without the file. Raises RunError where it is damaged."""
    file = folder / SAMPLES
    if not file.exists():
        _tell_missing(file)
        return {}
    check(file, result)
    return read_arrays(file, AGAIN)


def check(file: Path, result: dict[str, Any]) -> None:
    """Raise RunError where a file is not the one that the result names. Results of early versions name none."""
    if digest := (result.get("files") or {}).get(file.name):
        check_content(file, digest, AGAIN)


def plan(folder: Path) -> str:
    """Return the text of plan.yaml, "" without the file. Raises RunError where it is damaged."""
    if not (folder / PLAN).exists():
        _tell_missing(folder / PLAN)
        return ""
    digest, text = read_plan(folder)
    return f"# digest: {digest}\n{text}"


def _tell_missing(file: Path) -> None:
    """Say on standard error that a part of the page is left out."""
    note(f"{file}: no such file; the page is without it ({AGAIN})")


def bench_file(file: Path, device: str | None = None) -> Bench:
    """Read what `ssld bench --csv` wrote: the CSV, or the JSON beside it.

    The JSON names the machine; without it the machine is `device`. Raises RunError for other files.
    """
    if not file.is_file():
        raise RunError(f"{file}: no such file; {GIVE}")
    beside = file.with_suffix(".json")
    content = read_json(beside, GIVE) if beside.is_file() and beside != file else {}
    try:
        if file == beside:
            content = read_json(file, "")
        rows = content["rows"] if file == beside else bench_rows(file, "")
        machine = {"device": device or f"a machine that {file.name} does not name", **content.get("machine", {})}
        machine_name = ", ".join([machine["device"], *(card["name"] for card in machine.get("gpu", ()))])
        if rows and all(_is_row(row) for row in rows):
            return Bench(file, rows, machine_name)
    except (KeyError, TypeError, AttributeError, RunError):
        pass
    raise RunError(f"{file}: is no bench file; {GIVE}")


def _is_row(row: dict[str, Any]) -> bool:
    """Return whether a row has all columns that are needed, each of its type."""
    return all(isinstance(row.get(key), str if key in TEXT_COLUMNS else (int, float)) for key in NEEDED)


def _numeric(text: str) -> int | float | None:
    """Turn the text of a cell into a number, None where it is empty."""
    return (int(text) if text.isdigit() else float(text)) if text else None
