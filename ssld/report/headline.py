"""This module picks the few numbers of a result that a reader wants first."""

import sys
from dataclasses import dataclass
from typing import Any

from ssld.config import baseline, coverage
from ssld.errors import RecipeError
from ssld.progress import table
from ssld.spec.printable import printable

Row = dict[str, str | None]
NOT_STEADY = (
    "Not steady: the times of a network drifted or spread too much while they were measured, so that another run may "
    "find another speed-up; `ssld bench RUN` measures again, on a machine that does nothing else."
)
COLUMNS = ("network", "architecture", "top-1", "gain", "size", "latency", "speed-up")


@dataclass(frozen=True)
class Speed:
    """Compare teacher and student in the engine, batch and precision of the student's fastest that both ran in."""

    engine: str
    batch: int
    teacher_ms: float | None  # the median of a batch; None where the teacher was not measured
    student_ms: float
    teacher_bytes: int | None
    student_bytes: int
    unsteady: bool  # whether one of the two rows changed too much while it was measured

    @property
    def ratio(self) -> float | None:
        """Return the teacher's time over the student's, or None where the teacher was not measured."""
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
        unsteady=is_unsteady(student[key]) or is_unsteady(other),
    )


def ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return {`where`: the teacher's median latency over the student's}.

    The engines are those that ran both, at the smallest batch.
    """
    student, teacher = _measured(rows)
    teachers = {key: _beside(key, teacher) for key in student}
    return {where(*key): teachers[key]["p50_ms"] / row["p50_ms"] for key, row in student.items() if teachers[key]}


def unsteady(rows: list[dict[str, Any]]) -> list[str]:
    """Return where, as in `ratios`, one of the two times changed too much while it was measured."""
    student, teacher = _measured(rows)
    return [where(*key) for key, row in student.items() if is_unsteady(row) or is_unsteady(_beside(key, teacher))]


def is_unsteady(row: dict[str, Any]) -> bool:
    """Whether the bench found that the times of a row changed too much; older rows do not say it."""
    return str(row.get("steady")) == "False"  # of bench.csv it is text


def failed(result: dict[str, Any]) -> list[str]:
    """Return a line for each part of a result that could not be made after the training."""
    return [f"{what} failed: {why}" for what, why in result.get("failures", {}).items()]


def warnings(result: dict[str, Any]) -> list[str]:
    """Return a line for each thing about a result that its reader should know: what failed, and what was remarked."""
    return [*failed(result), *result.get("remarks", [])]


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


def baseline_remark(result: dict[str, Any]) -> str | None:
    """Return why a result has no baseline, or what is to be known of the one that it has.

    Returns None where nothing is to be said, and for an older result without a baseline, which does not say the reason.
    """
    if result.get("baseline"):
        try:
            plan = coverage.plan_of(result)
        except RecipeError:  # of an older version, whose plan no longer holds
            return None
        return baseline.unequal(plan, {name: result["stages"][name]["steps"] for name in plan.stages})
    reason = result.get("baseline_missing")
    return reason and f"no baseline: {reason}"


def closing_table(result: dict[str, Any]) -> None:
    """Print the table that ends a run, and below it what is to be said of its numbers, and what the run lacks."""
    smoke = " (smoke run: these numbers mean nothing)" if result.get("scope") == "smoke" else ""
    table(closing_rows(result), (result.get("title") or result["recipe"]) + smoke)
    speeds = speed(result.get("bench") or [])
    remarks = [baseline_remark(result), NOT_STEADY if speeds and speeds.unsteady else None, *warnings(result)]
    for remark in filter(None, remarks):
        sys.stdout.write(printable(remark) + "\n")


def closing_rows(result: dict[str, Any]) -> list[Row]:
    """Return the rows of teacher and baseline that the run has, then the student as `training_word` calls it."""
    speeds, teacher, baseline_result = speed(result.get("bench") or []), result.get("teacher"), result.get("baseline")
    arch = result["student"]["arch"]
    rows = [_row(training_word(result), arch, percent(result["top1"]), points(result.get("gain")))]
    if baseline_result:
        rows.insert(0, _row("baseline", arch, percent(baseline_result["top1"])))
    if teacher:
        rows.insert(0, _row("teacher", teacher["arch"], percent(teacher.get("top1"))))
    if "test_top1" in result:
        tested = [part.get("test_top1") for part in (teacher, baseline_result, result) if part]
        rows = [row | {"test": percent(top1)} for row, top1 in zip(rows, tested, strict=True)]
    if speeds:
        rows[-1] |= {"size": megabytes(speeds.student_bytes), "latency": f"{speeds.student_ms:.2f} ms"}
        if teacher and speeds.ratio and speeds.teacher_bytes:
            rows[0] |= {"size": megabytes(speeds.teacher_bytes), "latency": f"{speeds.teacher_ms:.2f} ms"}
            rows[-1] |= {"speed-up": f"{speeds.ratio:.1f} x{' (not steady)' if speeds.unsteady else ''}"}
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
