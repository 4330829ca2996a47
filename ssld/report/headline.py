"""The few numbers of a result that a reader wants first."""

import sys
from dataclasses import dataclass
from typing import Any

from ssld.config import baseline, scope
from ssld.progress import table

Row = dict[str, str | None]
COLUMNS = ("network", "architecture", "top-1", "gain", "size", "latency", "speed-up")


@dataclass(frozen=True)
class Speed:
    """Teacher and student in one engine, batch and precision: the student's fastest of those that both ran in."""

    engine: str
    batch: int
    teacher_ms: float | None  # median of a batch; None where the teacher was not measured
    student_ms: float
    teacher_bytes: int | None
    student_bytes: int

    @property
    def ratio(self) -> float | None:
        return self.teacher_ms / self.student_ms if self.teacher_ms else None


def speed(rows: list[dict[str, Any]]) -> Speed | None:
    """Of bench rows; the smallest batch counts. None without a row of the student."""
    student, teacher = _measured(rows)
    if not student:
        return None
    found = {key: _beside(key, teacher) for key in student}
    key = min([key for key in student if found[key]] or student, key=lambda key: student[key]["p50_ms"])
    other = found[key]
    return Speed(
        engine=key[0],
        batch=student[key]["batch"],
        teacher_ms=other.get("p50_ms"),
        student_ms=student[key]["p50_ms"],
        teacher_bytes=other.get("model_bytes"),
        student_bytes=student[key]["model_bytes"],
    )


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """`where` -> the teacher's median latency over the student's, at the smallest batch; engines that ran both."""
    student, teacher = _measured(rows)
    found = {key: _beside(key, teacher) for key in student}
    return {where(*key): found[key]["p50_ms"] / row["p50_ms"] for key, row in student.items() if found[key]}


def where(engine: str, precision: str) -> str:
    """`openvino`, or `openvino-int8` for a precision other than fp32."""
    return engine if precision == "fp32" else f"{engine}-{precision}"


def _beside(key: tuple[str, str], teacher: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """The teacher's row of the same engine and precision, or that of float32 where it has no other; {} for none."""
    return teacher.get(key) or teacher.get((key[0], "fp32")) or {}


def _measured(rows: list[dict[str, Any]]) -> tuple[dict[tuple[str, str], dict[str, Any]], ...]:
    """(engine, precision) -> row of the student, and of the teacher, at the student's smallest batch."""
    first = min((row["batch"] for row in rows if row["network"] == "student"), default=None)
    shown = [row for row in rows if row["batch"] == first]
    return tuple(
        {(row["engine"], row["precision"]): row for row in shown if row["network"] == name}
        for name in ("student", "teacher")
    )


def training_word(result: dict[str, Any]) -> baseline.Training:
    """What the student is called: distilled, or trained where no teacher had a part in it (`baseline.training`)."""
    return result["student"].get("training") or baseline.training(scope.plan_of(result))  # older results lack the word


def no_baseline(result: dict[str, Any]) -> str | None:
    """`no baseline: ` and why, of a result without one; None of a result with one, and of an older one, which does not
    say it."""
    reason = None if result.get("baseline") else result.get("baseline_missing")
    return reason and f"no baseline: {reason}"


def closing_table(result: dict[str, Any]) -> None:
    """Print the table that ends a run, and below it why there is no gain, where there is none."""
    smoke = " (smoke run: these numbers mean nothing)" if result.get("scope") == "smoke" else ""
    table(closing_rows(result), (result.get("title") or result["recipe"]) + smoke)
    if reason := no_baseline(result):
        sys.stdout.write(reason + "\n")


def closing_rows(result: dict[str, Any]) -> list[Row]:
    """Those of teacher and baseline that the run has, then the student as `training_word` calls it."""
    found, teacher, measured = speed(result.get("bench") or []), result.get("teacher"), result.get("baseline")
    arch = result["student"]["arch"]
    rows = [_row(training_word(result), arch, percent(result["top1"]), points(result.get("gain")))]
    if measured:
        rows.insert(0, _row("baseline", arch, percent(measured["top1"])))
    if teacher:
        rows.insert(0, _row("teacher", teacher["arch"], percent(teacher.get("top1"))))
    if found:
        rows[-1] |= {"size": megabytes(found.student_bytes), "latency": f"{found.student_ms:.2f} ms"}
        if teacher and found.ratio and found.teacher_bytes:
            rows[0] |= {"size": megabytes(found.teacher_bytes), "latency": f"{found.teacher_ms:.2f} ms"}
            rows[-1] |= {"speed-up": f"{found.ratio:.1f} x"}
    return rows


def _row(*cells: str | None) -> Row:
    return dict(zip(COLUMNS, [*cells, *[None] * (len(COLUMNS) - len(cells))], strict=True))


def percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} %"


def points(value: float | None) -> str | None:
    """A difference of two percentages, with its sign."""
    return None if value is None else f"{value:+.2f}"


def megabytes(size: float) -> str:
    """Of 10^6 bytes."""
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"
