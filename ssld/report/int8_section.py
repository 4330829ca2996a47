"""This module makes the section of a run's page on stages in int8.

It shows which layers round, and how much each rounding moves.
"""

from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ssld.report.figures import STUDENT, STYLE, TEACHER, svg
from ssld.report.markup import figure, section
from ssld.spec.printable import in_markup

LAYERS = 16  # at most so many layers are drawn


def layers(result: dict[str, Any]) -> str:
    """Show the quantised stages of a result; nothing without any."""
    stages = {name: stage["int8"] for name, stage in result["stages"].items() if stage.get("int8")}
    if not stages:
        return ""
    panels = "".join(figure(name, int8_summary(record), sensitivity(record)) for name, record in stages.items())
    how = "Weights and inputs of these layers are rounded to int8 in training as in the exported file."
    return section("int8", how, f'<div class="grid">{panels}</div>')


def int8_summary(record: dict[str, Any]) -> str:
    """Say how many layers round, and which do not."""
    names, float_layers = len(record["layers"]), record["kept_float"]
    text = f"{names - len(float_layers)} of {names} layers are in int8"
    return in_markup(text + (f"; float: {', '.join(float_layers)}." if float_layers else "."))


def sensitivity(record: dict[str, Any]) -> str:
    """Draw the mean KL of the answers when one layer alone is rounded, the LAYERS largest.

    Returns nothing where it was not measured.
    """
    values = sorted(record["sensitivity"].items(), key=lambda item: -item[1])[:LAYERS]
    if not values:
        return ""
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        drawing = Figure(figsize=(4.7, 0.6 + 0.21 * len(values)), layout="constrained")
        axes, spots = drawing.subplots(), range(len(values))
        colours = [TEACHER if name in record["kept_float"] else STUDENT for name, _ in values]
        axes.barh(spots, [max(value, 1e-9) for _, value in values], color=colours, height=0.62)
        axes.set_yticks(spots, [name if len(name) <= 30 else "…" + name[-28:] for name, _ in values])
        axes.set(xscale="log", ylim=(len(values) - 0.4, -0.6), xlabel="KL (float || this layer alone in int8), nats")
        return svg(drawing, "Sensitivity of the layers to int8")
