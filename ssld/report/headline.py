"""This module picks the few numbers of a result that a reader wants first."""

import sys
from dataclasses import dataclass
from typing import Any

from ssld.config import baseline, coverage
from ssld.progress import table

Row = dict[str, str | None]
COLUMNS = ("network", "architecture", "top-1", "gain", "size", "latency", "speed-up")


@dataclass(frozen=True)
class Speed:
    """Teacher and student in one engine, batch and precision: the student's fastest of those that both ran in."""

    engine: str
    batch: int
    teacher_ms: float | None  # the median of a batch; None where the teacher was not measured
    student_ms: float
    teacher_bytes: int | None
    student_bytes: int

    @property
    def ratio(self) -> float | None:
        """The teacher's time over the student's; None where the teacher was not measured."""
        return self.teacher_ms / self.student_ms if self.teacher_ms else None


def speed(rows: list[dict[str, Any]]) -> Speed | None:
    """Return the speeds of teacher and student at the smallest batch of some bench rows.

    Returns None without a row of the student.
    """
    student, teacher = _measured(rows)
    if not student:
        return None
    teachers = {key: _beside(key, teacher) for key in student}
    key = min([key for key in student if teachers[key]] or student, key=lambda key: student[key]["p50_ms"])
    other = teachers[key]
    return Speed(
        engine=key[0],
        batch=student[key]["batch"],
        teacher_ms=other.get("p50_ms"),
        student_ms=student[key]["p50_ms"],
        teacher_bytes=other.get("model_bytes"),
        student_bytes=student[key]["model_bytes"],
    )


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return {`where`: the teacher's median latency over the student's}.

    The engines are those that ran both, at the smallest batch.
    """
    student, teacher = _measured(rows)
    teachers = {key: _beside(key, teacher) for key in student}
    return {where(*key): teachers[key]["p50_ms"] / row["p50_ms"] for key, row in student.items() if teachers[key]}


def where(engine: str, precision: str) -> str:
    """Return `openvino`, or `openvino-int8` for a precision other than fp32."""
    return engine if precision == "fp32" else f"{engine}-{precision}"


def _beside(key: tuple[str, str], teacher: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """Return the teacher's row of the same engine and precision.

    Where it has none it is that of float32; {} where there is none either.
    """
    return teacher.get(key) or teacher.get((key[0], "fp32")) or {}


def _measured(rows: list[dict[str, Any]]) -> tuple[dict[tuple[str, str], dict[str, Any]], ...]:
    """Return {(engine, precision): row} of the student and of the teacher, at the student's smallest batch."""
    first = min((row["batch"] for row in rows if row["network"] == "student"), default=None)
    smallest = [row for row in rows if row["batch"] == first]
    return tuple(
        {(row["engine"], row["precision"]): row for row in smallest if row["network"] == name}
        for name in ("student", "teacher")
    )


def training_word(result: dict[str, Any]) -> baseline.Training:
    """Return what the student is called, see `baseline.training`.

    It is distilled, or trained where no teacher had a part in it.
    """
    # Older results do not have the word.
    return result["student"].get("training") or baseline.training(coverage.plan_of(result))


def on_other_images(result: dict[str, Any]) -> dict[str, str]:
    """Map each stage that was not evaluated on the validation images of the last stage to the list that it was.

    Its top-1 says nothing beside that of the others.
    """
    stages = (result.get("plan") or {}).get("stages") or {}
    lists = {name: stage["data"]["val"] for name, stage in stages.items() if name in result["stages"]}
    return {name: listed for name, listed in lists.items() if listed != list(lists.values())[-1]}


def no_baseline(result: dict[str, Any]) -> str | None:
    """Return `no baseline: ` and the reason, of a result without one.

    Returns None for a result with a baseline, and for an older one, which does not say the reason.
    """
    reason = None if result.get("baseline") else result.get("baseline_missing")
    return reason and f"no baseline: {reason}"


def closing_table(result: dict[str, Any]) -> None:
    """Print the table that ends a run, and below it the reason why there is no gain, where there is none."""
    smoke = " (smoke run: these numbers mean nothing)" if result.get("scope") == "smoke" else ""
    table(closing_rows(result), (result.get("title") or result["recipe"]) + smoke)
    if reason := no_baseline(result):
        sys.stdout.write(reason + "\n")


def closing_rows(result: dict[str, Any]) -> list[Row]:
    """Return the rows of teacher and baseline that the run has, then the student as `training_word` calls it."""
    speeds, teacher, baseline_result = speed(result.get("bench") or []), result.get("teacher"), result.get("baseline")
    arch = result["student"]["arch"]
    rows = [_row(training_word(result), arch, percent(result["top1"]), points(result.get("gain")))]
    if baseline_result:
        rows.insert(0, _row("baseline", arch, percent(baseline_result["top1"])))
    if teacher:
        rows.insert(0, _row("teacher", teacher["arch"], percent(teacher.get("top1"))))
    if speeds:
        rows[-1] |= {"size": megabytes(speeds.student_bytes), "latency": f"{speeds.student_ms:.2f} ms"}
        if teacher and speeds.ratio and speeds.teacher_bytes:
            rows[0] |= {"size": megabytes(speeds.teacher_bytes), "latency": f"{speeds.teacher_ms:.2f} ms"}
            rows[-1] |= {"speed-up": f"{speeds.ratio:.1f} x"}
    return rows


def _row(*cells: str | None) -> Row:
    """Return a row whose last cells are empty where fewer are given."""
    return dict(zip(COLUMNS, [*cells, *[None] * (len(COLUMNS) - len(cells))], strict=True))


def percent(value: float | None) -> str | None:
    """Write a percentage; None stays None."""
    return None if value is None else f"{value:.2f} %"


def points(value: float | None) -> str | None:
    """Write a difference of two percentages with its sign; None stays None."""
    return None if value is None else f"{value:+.2f}"


def megabytes(size: float) -> str:
    """Write a number of bytes in MB of 10^6 bytes, a small one in kB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
