"""This module puts every row of a run's bench beside that of its teacher, with the accuracy of that format."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssld.config.run_folder import AGAIN, read_result
from ssld.errors import RunError
from ssld.report import run_files
from ssld.report.run_files import Bench

Row = dict[str, Any]
ROLES = {"student": "student", "export": "student", "teacher": "teacher", "teacher_export": "teacher"}
# The format that an engine reads, where it does not have the name of the precision: see `ssld/deploy/engines`.
READS = {("onednn", "int8"): "paddle2_int8", **{("tensorrt_plan", name): "tensorrt" for name in ("fp16", "int8")}}
# These lower the precision themselves, so no gate saw the result.
CONVERTS = {"paddle_gpu", "paddle_tensorrt", "paddle_tensorrt_subgraph"}


@dataclass(frozen=True)
class Run:
    """Hold a finished run: its result, and what the gate of its newest export measured."""

    name: str
    result: dict[str, Any]
    gates: dict[str, dict[str, Any]]
    images: int | None  # the number of images of the gate

    def top1(self, role: str, engine: str, precision: str) -> float | None:
        """Return percent: in fp32 of all validation images; below that of those of the gate, where it saw the file."""
        if precision == "fp32":
            return (self.result if role == "student" else self.result.get("teacher") or {}).get("top1")
        if role == "teacher" or engine in CONVERTS:
            return None
        return self.gates.get(READS.get((engine, precision), precision), {}).get("top1")

    def role(self, network: str, alone: bool) -> str | None:
        """Return what a bench file's name of a network means here: student, teacher or None.

        alone: names without a run belong to the only run there is.
        """
        *folders, last = Path(network).parts
        if last == self.name:
            return "student"
        return ROLES.get(last) if (folders[-1] == self.name if folders else alone) else None


@dataclass(frozen=True)
class Gain:
    """Hold a row of the student, and the teacher's of the same engine, batch, threads and span, if there is one.

    The teacher's row is of the same file, or of another one of that machine (`apart`); it is of the same precision, or
    in fp32. ratio: the teacher's time over the student's. low, high: its 95 % interval, where the bench measured one
    against the other.
    """

    run: Run
    bench: Bench
    student: Row
    teacher: Row | None = None
    apart: Bench | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def read_run(folder: Path) -> Run:
    """Read a finished run. Raises RunError for a folder that is none."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; give the folder of a finished run")
    result, contract = read_result(folder), run_files.contract(folder)
    try:
        gate = contract.get("gate") or {"images": None, "formats": {}}
        gates = {**(result.get("export") or {}), **gate["formats"]}
        result["top1"], result["student"]["arch"], result["hardware"]
        return Run(folder.resolve().name, result, gates, gate["images"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RunError(f"{folder}: result.json or export/contract.json is not that of a run; {AGAIN}") from None


def own_bench(folder: Path, run: Run) -> list[Bench]:
    """Return what the run measured itself; [] where it did not."""
    file = folder / run_files.BENCH
    if not file.exists():
        return []
    run_files.check(file, run.result)
    return [replace(run_files.bench_file(file, run.result["hardware"]), own=True)]


def gains(folders: Sequence[Path], files: Sequence[Path]) -> tuple[list[Gain], list[str]]:
    """Return the gains of each run in its own bench and in the given files, and the networks of the files that are of
    no run.

    Raises RunError for what is no run or no bench file, and when no row is a student's.
    """
    runs = {folder: read_run(folder) for folder in folders}
    benches = [run_files.bench_file(file) for file in files]
    result: list[Gain] = []
    for folder, run in runs.items():
        result += pairs(run, [*own_bench(folder, run), *benches], alone=len(runs) == 1)
    if not result:
        names = ", ".join(str(folder) for folder in folders)
        how = f"`ssld bench {folders[0]} {folders[0]}/teacher_export --csv FILE` measures, --csv FILE adds it here"
        raise RunError(f"{names}: no row of a student in a bench.csv or a given file; {how}")
    networks = dict.fromkeys(row["network"] for bench in benches for row in bench.rows)
    matched = {name for name in networks for run in runs.values() if run.role(name, len(runs) == 1)}
    return result, [name for name in networks if name not in matched]


def pairs(run: Run, benches: Sequence[Bench], alone: bool) -> list[Gain]:
    """Return a gain for each row of a student."""
    rows = [(bench, row, run.role(row["network"], alone or bench.own)) for bench in benches for row in bench.rows]
    teachers = [(bench, row) for bench, row, role in rows if role == "teacher"]
    return [_gain(run, bench, row, teachers) for bench, row, role in rows if role == "student"]


def _gain(run: Run, bench: Bench, student: Row, teachers: Sequence[tuple[Bench, Row]]) -> Gain:
    """Return a row of the student with the best matching row of the teacher."""

    def rank(other: Bench, row: Row) -> tuple[bool, bool, bool]:
        return (other is not bench, row["precision"] != student["precision"], row["size"] != student["size"])

    same = ("engine", "batch", "threads")
    candidates = [
        (rank(other, row), other, row)
        for other, row in teachers
        if other.device == bench.device and row["precision"] in (student["precision"], "fp32")
        if all(row[key] == student[key] for key in same) and span(row) == span(student)
    ]
    best = [item for item in candidates if item[0] == min(candidates, key=lambda item: item[0])[0]]
    if (
        len({row["size"] for _, _, row in best}) != 1
    ):  # there is none, or they have several sizes, none of them the student's
        return Gain(run, bench, student)
    _, other, teacher = best[0]
    apart = None if other is bench else other
    turns = None if apart else interval(bench.rows, student, teacher)
    return Gain(run, bench, student, teacher, apart, *(turns or (teacher["p50_ms"] / student["p50_ms"], None, None)))


def span(row: Row) -> str:
    """Return what the times of a row cover."""
    return row.get("span") or "model"


def interval(rows: Sequence[Row], student: Row, teacher: Row) -> tuple[float, float, float] | None:
    """Return the speed-up of student over teacher, where one of them is the row that the other was compared with.

    A row that others are compared with says exactly 1. Where a file holds several such rows of one kind, they were not
    measured in turns, and nothing is known of the interval.
    """

    def kind(row: Row) -> tuple[Any, ...]:
        size = row["size"] if student["size"] == teacher["size"] else None
        return (row["batch"], row["threads"], span(row), size)

    firsts = Counter(kind(row) for row in rows if _speedup(row) == (1, 1, 1))
    if firsts[kind(student)] != 1:
        return None
    if _speedup(teacher) == (1, 1, 1):
        numbers = _speedup(student)
    elif _speedup(student) == (1, 1, 1):
        value, low, high = _speedup(teacher)
        numbers = (1 / value, 1 / high, 1 / low) if value and low and high else (None, None, None)
    else:
        return None
    value, low, high = numbers
    return (value, low, high) if value and low and high else None


def _speedup(row: Row) -> tuple[Any, Any, Any]:
    """Return the speed-up of a row with its interval."""
    return (row.get("speedup"), row.get("speedup_low"), row.get("speedup_high"))
