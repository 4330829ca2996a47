"""This module writes the speed report: tables of teacher against student, and accuracy against latency.

It writes Markdown, HTML and SVG.
"""

import base64
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ssld.errors import RunError
from ssld.files import write_whole, writing
from ssld.progress import note
from ssld.report.headline import megabytes
from ssld.report.markup import Columns, card, markdown, number, section, table
from ssld.report.run_page import PAGE
from ssld.report.scatter import Panel, Point, scatter
from ssld.report.sections import SMOKE
from ssld.report.speed import Gain, gains, span
from ssld.report.style import CSS
from ssld.spec.printable import in_markdown, in_markup

COLUMNS: Columns = {
    "engine": ("engine", str),
    "precision": ("precision", str),
    "batch": ("batch", "d"),
    "threads": ("threads", "d"),
    "size, px": ("size", str),
    "ms a batch": ("ms", str),
    "gain": ("gain", str),
    "images/s": ("rate", str),
    "model": ("bytes", str),
    "top-1, %": ("top1", str),
    "points": ("points", "+.2f"),
    "": ("remark", str),
}
SPANS = {"model": "the network alone", "end-to-end": "from image files to answers"}
TITLE = "Teacher against student"
HOW = (
    "Pairs are teacher → student. Latency: the median. Gain: the teacher's time over the student's, with its 95 % "
    "interval where the bench measured one against the other in turns; elsewhere it is the ratio of the medians. "
    "Images a second: batch over mean time. Model: the files that the engine reads. Top-1: in fp32 of all validation "
    "images; in other precisions of the exported file, on the images of its gate; a dash where no gate saw it."
)
FIGURE = "Stars are students, dots teachers; the dashed line joins the best at their cost. Up and left is better."
HUES = ("student", "baseline", "more1", "more2", "more3", "more4", "more5", "more6")


def write_speed(folders: Sequence[Path], files: Sequence[Path], out: Path) -> dict[str, str]:
    """Write speed.md, speed.html and, where accuracies are known, speed.svg; return their paths.

    Raises RunError, one line, for input that is no run or no bench file.
    """
    all_gains, others = gains(folders, files)
    if others:
        note(f"report: left out, of no run that is given: {', '.join(others)}")
    drawing = figure(all_gains)
    parts = [(title, [cells(gain) for gain in members]) for title, members in groups(all_gains)]
    smoke = any(gain.run.result.get("scope") == "smoke" for gain in all_gains)
    texts = {"html": as_html(parts, drawing, smoke), "md": as_markdown(parts, drawing, smoke)}
    texts |= {"svg": drawing} if drawing else {}
    with writing(out, RunError, "choose another --out"):
        out.mkdir(parents=True, exist_ok=True)
        for kind, text in texts.items():
            write_whole(out / f"speed.{kind}", text)
    return {kind: str(out / f"speed.{kind}") for kind in texts}


def groups(all_gains: Sequence[Gain]) -> list[tuple[str, list[Gain]]]:
    """Return a table each for a run, a bench file and a span: its title and its gains."""

    def title(gain: Gain) -> str:
        name = gain.run.result.get("title") or gain.run.result["recipe"]
        name = name.replace(" -> ", " → ")
        return f"{name} ({gain.run.name}), {SPANS[span(gain.student)]}, on {gain.bench.device} ({gain.bench.file.name})"

    tables: dict[str, list[Gain]] = {}
    for gain in all_gains:
        tables.setdefault(title(gain), []).append(gain)
    return list(tables.items())


def cells(gain: Gain) -> dict[str, Any]:
    """Return a row of the table."""
    student, teacher = gain.student, gain.teacher or {}
    engine, precision = student["engine"], student["precision"]
    own = gain.run.top1("student", engine, precision)
    other = gain.run.top1("teacher", engine, teacher["precision"]) if teacher else None
    parts = [f"{gain.ratio:.2f} x"] if gain.ratio else []
    parts += [f"({gain.low:.2f} to {gain.high:.2f})"] if gain.low and gain.high else []
    remarks = [f"teacher in {teacher['precision']}"] if teacher and teacher["precision"] != precision else []
    remarks += [f"teacher of {gain.apart.file.name}"] if gain.apart else []
    remarks += ["no row of the teacher"] if not teacher else []
    remarks += [f"top-1 on the gate's {gain.run.images} images"] if own is not None and precision != "fp32" else []
    remarks += ["not steady"] if "False" in (str(student.get("steady")), str(teacher.get("steady"))) else []
    return {
        **{key: student[key] for key in ("engine", "precision", "batch", "threads")},
        "size": _pair(teacher.get("size"), student["size"], "d"),
        "ms": _pair(teacher.get("p50_ms"), student["p50_ms"], ".3f"),
        "gain": " ".join(parts) or None,
        "rate": _pair(teacher.get("images_per_second"), student["images_per_second"], ",.0f"),
        "bytes": _pair(teacher.get("model_bytes"), student["model_bytes"], megabytes),
        "top1": _pair(other, own, ".2f"),
        "points": own - other if own is not None and other is not None else None,
        "remark": "; ".join(remarks),
    }


def _pair(teacher: Any, student: Any, form: Any) -> str:
    """Write teacher → student."""
    return f"{number(teacher, form)} → {number(student, form)}"


def figure(all_gains: Sequence[Gain]) -> str | None:
    """Draw accuracy against latency, a panel for each machine: the network alone, smallest batch, fewest threads."""
    alone = [gain for gain in all_gains if span(gain.student) == "model"]
    engines = dict.fromkeys(gain.student["engine"] for gain in alone)
    several = len({gain.run.name for gain in alone}) > 1
    panels = []
    for device, group in groupby(sorted(alone, key=lambda gain: gain.bench.device), lambda gain: gain.bench.device):
        members = list(group)
        batch, threads = min((gain.student["batch"], gain.student["threads"]) for gain in members)
        compared = [gain for gain in members if (gain.student["batch"], gain.student["threads"]) == (batch, threads)]
        points = dict.fromkeys(point for gain in compared for point in spots(gain, several))
        label = f"median milliseconds a batch of {batch}, threads: {threads}, on {device}"
        panels += [Panel(label, "top-1, % of the validation images", list(points))] if points else []
    colours = dict(zip(engines, HUES * len(engines), strict=False))
    return scatter("Accuracy against latency", panels, colours, "student") if panels else None


def spots(gain: Gain, several: bool) -> list[Point]:
    """Return the student's point and the teacher's, where their accuracies are known."""
    points = []
    for role, row in (("teacher", gain.teacher), ("student", gain.student)):
        top1 = gain.run.top1(role, row["engine"], row["precision"]) if row else None
        if row and top1 is not None:
            name = f"{gain.run.name + ': ' if several else ''}{role}, {row['engine']} {row['precision']}"
            points.append(Point(name, row["p50_ms"], top1, row["engine"], star=role == "student"))
    return points


Parts = Sequence[tuple[str, list[dict[str, Any]]]]


def as_html(parts: Parts, drawing: str | None, smoke: bool) -> str:
    """Return the report as an HTML page."""
    body = [f'<h1>{TITLE}</h1>\n<p class="sub">{in_markup(HOW)}</p>\n', SMOKE if smoke else ""]
    if drawing:
        data = base64.b64encode(drawing.encode()).decode()
        picture = f'<img alt="Accuracy against latency" style="width:100%" src="data:image/svg+xml;base64,{data}">'
        body.append(section("Accuracy against latency", FIGURE, picture))
    body += [section(title, "", card(table(COLUMNS, rows))) for title, rows in parts]
    return PAGE.format(title=f"{TITLE} · ssld", css=CSS, body="".join(body))


def as_markdown(parts: Parts, drawing: str | None, smoke: bool) -> str:
    """Return the report in Markdown."""
    lines = [f"# {TITLE}", HOW]
    lines += ["**A smoke run, of a few steps on fake images: its numbers mean nothing.**"] if smoke else []
    lines += ["## Accuracy against latency", f"![Accuracy against latency](speed.svg)\n\n{FIGURE}"] if drawing else []
    lines += [f"## {in_markdown(title)}\n\n{markdown(COLUMNS, rows)}" for title, rows in parts]
    return "\n\n".join(lines) + "\n"
