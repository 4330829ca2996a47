"""The section of a report page on stages in int8: which layers round, and how much the rounding of each one moves."""

import html
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ssld.report.figures import STUDENT, STYLE, TEACHER, svg
from ssld.report.markup import figure, section

LAYERS = 16  # that are drawn


def layers(result: dict[str, Any]) -> str:
    """The quantised stages of a result; nothing without any."""
    found = {name: stage["int8"] for name, stage in result["stages"].items() if stage.get("int8")}
    if not found:
        return ""
    panels = "".join(figure(name, said(held), sensitivity(held)) for name, held in found.items())
    how = "Weights and inputs of these layers are rounded to int8 in training as in the exported file."
    return section("int8", how, f'<div class="grid">{panels}</div>')


def said(held: dict[str, Any]) -> str:
    """How many layers round, and which do not."""
    every, kept = len(held["layers"]), held["kept_float"]
    text = f"{every - len(kept)} of {every} layers are in int8"
    return html.escape(text + (f"; float: {', '.join(kept)}." if kept else "."))


def sensitivity(held: dict[str, Any]) -> str:
    """Mean KL of the answers when one layer alone is rounded, the LAYERS largest; nothing where it was not measured."""
    shown = sorted(held["sensitivity"].items(), key=lambda item: -item[1])[:LAYERS]
    if not shown:
        return ""
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        drawing = Figure(figsize=(4.7, 0.6 + 0.21 * len(shown)), layout="constrained")
        axes, spots = drawing.subplots(), range(len(shown))
        colours = [TEACHER if name in held["kept_float"] else STUDENT for name, _ in shown]
        axes.barh(spots, [max(value, 1e-9) for _, value in shown], color=colours, height=0.62)
        axes.set_yticks(spots, [name if len(name) <= 30 else "…" + name[-28:] for name, _ in shown])
        axes.set(xscale="log", ylim=(len(shown) - 0.4, -0.6), xlabel="KL (float || this layer alone in int8), nats")
        return svg(drawing, "Sensitivity of the layers to int8")
