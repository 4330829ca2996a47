"""This module draws the three figures of the published overview, accuracy against latency, anew from the cards.

It writes PNG and SVG. All numbers are published; rows of `ssld bench` may be laid over them. The same cards give the
same picture.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, groupby
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ssld.config import cards
from ssld.config.cards import FAMILIES, Latency, Model
from ssld.errors import RunError
from ssld.files import writing
from ssld.report.point_names import Label, write_labels
from ssld.report.run_files import Bench, bench_file
from ssld.report.style import COLOURS

COLOUR = dict(re.findall(r"--(\w+): (#\w+)", COLOURS.partition("@media")[0]))  # the colours of a light page
HUES = ("student", "more1", "more2", "more3", "more6", "more4", "baseline", "ink", "muted")
LOOKS = [*zip(HUES, "os^DvPXhp", strict=True)]
STYLE = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "svg.fonttype": "none",
    "svg.hashsalt": "ssld",
    "font.size": 10,
    "text.color": COLOUR["ink"],
    "axes.edgecolor": COLOUR["rule"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOUR["rule"],
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,
}
DPI = 110
STARS = "trained with SSLD; arrow: from the plain network (Fix, int8: from its SSLD weights)"
RINGS = ("ink", "baseline", "more1", "more2")
VARIANT = re.compile(r"small|large|swish|32x4d|64x4d|14w")  # networks of a series that differ in more than their size
SOURCE = "PaddleClas, branch release/static, docs/zh_CN/models/*.md and README_cn.md; each card names its page"
SHARED = "The tables repeat a network's time for its SSLD weights of the same size and precision, to the last digit."
ORIGIN: dict[str, cards.Kind] = {"fix": "ssld_v2", "int8": "ssld"}  # the training whose weights a training began with
Spot = tuple[float, float]  # (milliseconds, percent)


@dataclass(frozen=True)
class Chart:
    """Describe a figure: which column it shows, and what the published tables and pictures get wrong about it."""

    title: str
    batch: int
    latency: Callable[[Latency], float | None]
    notes: tuple[str, ...]
    size: tuple[float, float]  # width and height, inches
    # {name: series}; a group has one colour.
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: FAMILIES)

    def group(self, model: Model) -> str | None:
        """Return the name of the group that a model belongs to; None where the figure does not show it."""
        return next((name for name, members in self.groups.items() if model.series in members), None)

    def looks(self) -> dict[str, dict[str, Any]]:
        """Return colour and marker of each group."""
        return {
            name: {"color": COLOUR[colour], "marker": marker, "linestyle": ""}
            for name, (colour, marker) in zip(self.groups, LOOKS, strict=False)
        }


GPU = "Mean of 500 runs after 10 that are dropped, copies to and from the GPU included."
CHARTS = {
    "v100_fp32_batch1": Chart(
        "V100, FP32, batch 1",
        1,
        lambda latency: latency.v100_fp32,
        (
            GPU,
            "GoogLeNet: the V100 table says 224 pixels, the T4 table 299. HRNet_W18_C stands at its 76.92; the "
            "published picture draws it near 75.8.",
        ),
        (13, 9.5),
    ),
    "t4_fp32_batch4": Chart(
        "T4, FP32 (TensorRT), batch 4",
        4,
        lambda latency: latency.t4_fp32[1] if latency.t4_fp32 else None,
        (
            GPU,
            "GoogLeNet: the T4 table says 299 pixels, the V100 table 224. ResNet50_ACNet_deploy: the T4 table says "
            "256 pixels, its card 224.",
        ),
        (13, 12),
    ),
    "sd855_batch1": Chart(
        "Snapdragon 855 (phone), CPU, batch 1",
        1,
        lambda latency: latency.sd855,
        (
            "Paddle Lite, 10 + 30 runs; one thread, as follows from later tables: this one does not say. The text "
            "around the table speaks of FPS, its numbers are milliseconds.",
            "FP32, but for MobileNetV3_large_x1_0_ssld_int8: it has 76.05, 76.1 and 75.9 on three pages, here 76.05.",
        ),
        (12, 8),
        {series: (series,) for series in FAMILIES["Mobile"]},
    ),
}


@dataclass(frozen=True)
class Measured:
    """Hold a row of a bench file whose network is a published model: its latency is ours, its top-1 is published."""

    model: Model
    ms: float
    source: str  # the engine and the machine, as the legend names them


def write_figures(out: Path, files: Sequence[Path] = ()) -> list[Path]:
    """Write every figure as PNG and SVG, with the rows of bench files, and return the paths.

    Raises RunError for a file that is no bench file, and where `out` cannot be written.
    """
    benches, paths = [bench_file(file) for file in files], []
    with writing(out, RunError, "choose another --out"):
        out.mkdir(parents=True, exist_ok=True)
        for name, chart in CHARTS.items():
            figure = draw(chart, benches)
            for kind in ("png", "svg"):
                paths.append(out / f"{name}.{kind}")
                with mpl.rc_context(STYLE):
                    metadata = {"Date": None} if kind == "svg" else None
                    figure.savefig(paths[-1], bbox_inches="tight", pad_inches=0.15, metadata=metadata)
    return paths


def draw(chart: Chart, benches: Sequence[Bench] = ()) -> Figure:
    """Draw one figure."""
    models = [model for model in cards.models().values() if chart.group(model)]
    spots = {model: ms for model in models if (ms := chart.latency(model.latency_ms)) is not None}
    ours = measured(chart, models, benches)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=chart.size, dpi=DPI)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_title(f"Published top-1 against published latency: {chart.title}", loc="left", fontsize=13)
        axes.set(xlabel="latency, milliseconds a batch (logarithmic)", ylabel="top-1, %, ImageNet validation images")
        _scale(axes, [*spots.values(), *(point.ms for point in ours)], [model.top1 for model in spots])
        handles = [*_series(axes, chart, spots), *_arrows(axes, spots), *_ours(axes, ours)]
        legend = figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(-0.01, -0.055), ncols=4)
        below = legend.get_window_extent().y0 / figure.bbox.height
        lines = [spot for begin, end in arrows(spots) for spot in _along(axes, begin, end)]
        rings = [Label(f"{p.model.name}, measured", p.ms, p.model.top1, COLOUR["ink"]) for p in ours]
        unnamed = write_labels(axes, [*rings, *_labels(chart, spots)], lines)
        caption = _caption(chart, [model for model in models if model not in spots], unnamed, bool(ours))
        figure.text(0, below - 0.012, caption, va="top", fontsize=8.5, color=COLOUR["muted"])
    return figure


def measured(chart: Chart, models: Sequence[Model], benches: Sequence[Bench]) -> list[Measured]:
    """Return the rows at the chart's batch, in fp32, of networks at the size that the model is published for."""
    by_name = {model.name: model for model in models}
    return [
        Measured(by_name[row["network"]], row["p50_ms"], f"measured, {row['engine']} on {bench.device}")
        for bench in benches
        for row in bench.rows
        if row["network"] in by_name
        and (row["batch"], row["precision"], row.get("span", "model")) == (chart.batch, "fp32", "model")
        and row["size"] == by_name[row["network"]].input.size
    ]


def arrows(spots: dict[Model, float]) -> list[tuple[Spot, Spot]]:
    """Return the ends of the arrows, one for each training with SSLD.

    An arrow begins at the plain network, or at the weights that the training began with.
    """
    places = {(model.arch, model.kind): (ms, model.top1) for model, ms in spots.items()}
    ends = {(model.arch, model.kind): ORIGIN.get(model.kind, "plain") for model in spots if "ssld" in model.name}
    return [(places[arch, origin], places[arch, kind]) for (arch, kind), origin in ends.items()]


def _scale(axes: Axes, times: Sequence[float], scores: Sequence[float]) -> None:
    """Set the limits and the ticks of the axes."""
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 1.25, max(times) * 1.3)
    room = 0.04 * (max(scores) - min(scores))
    axes.set_ylim(min(scores) - room, max(scores) + room)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _series(axes: Axes, chart: Chart, spots: dict[Model, float]) -> list[Line2D]:
    """Draw the points, a colour and a marker a group; a thin line joins plain networks that differ in size alone."""
    lines: dict[tuple[str, str], list[Spot]] = {}
    for model, ms in spots.items():  # the models come in the order of their parameters
        if model.kind == "plain":
            lines.setdefault((model.series, "".join(VARIANT.findall(model.name))), []).append((ms, model.top1))
    for line in lines.values():
        axes.plot(*zip(*line, strict=True), color=COLOUR["muted"], linewidth=0.6, linestyle=":", zorder=1.5)
    handles = []
    for name, look in chart.looks().items():
        members = [model for model in spots if chart.group(model) == name and "ssld" not in model.name]
        axes.plot([spots[m] for m in members], [m.top1 for m in members], markersize=6, markeredgewidth=0, **look)
        handles += [Line2D([], [], label=name, markersize=7, **look)] if members else []
    return handles


def _arrows(axes: Axes, spots: dict[Model, float]) -> list[Line2D]:
    """Draw a star for each training with SSLD, with its arrow."""
    line: dict[str, Any] = {"color": COLOUR["more5"], "linewidth": 1.1}
    star: dict[str, Any] = {"marker": "*", "markersize": 12, "markeredgewidth": 0}
    for begin, end in arrows(spots):
        arrow = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 4, "shrinkB": 6, **line}
        axes.annotate("", end, begin, arrowprops=arrow, zorder=2.5)
        axes.plot(*end, zorder=3, **star, **line)
    return [Line2D([], [], label=STARS, **star, **line)]


def _along(axes: Axes, begin: Spot, end: Spot) -> list[Spot]:
    """Return spots, in data, on the straight line between two spots, close to each other on the picture."""
    first, last = axes.transData.transform([begin, end])
    steps = np.linspace(0, 1, max(2, round(np.hypot(*(last - first)) / 3)))[:, None]
    return [(x, y) for x, y in axes.transData.inverted().transform(first + steps * (last - first))]


def _ours(axes: Axes, points: Sequence[Measured]) -> list[Line2D]:
    """Draw rings around what was measured, in a shade for each engine and machine."""
    handles = []
    for source, colour in zip(dict.fromkeys(point.source for point in points), cycle(RINGS), strict=False):
        members = [point for point in points if point.source == source]
        look: dict[str, Any] = {"color": COLOUR[colour], "marker": "o", "linestyle": "", "markerfacecolor": "none"}
        look |= {"markersize": 10, "markeredgewidth": 1.6}
        axes.plot([p.ms for p in members], [p.model.top1 for p in members], zorder=4, **look)
        handles.append(Line2D([], [], label=source, **look))
    return handles


def _labels(chart: Chart, spots: dict[Model, float]) -> list[Label]:
    """Return the names, the most important first: both ends of arrows, the best at their cost, the ends of series."""
    looks, front, best = chart.looks(), set[Model](), 0.0
    for model in sorted(spots, key=lambda model: (spots[model], -model.top1)):
        if model.top1 > best:
            front, best = front | {model}, model.top1
    begins = {begin for begin, _ in arrows(spots)}
    ends: set[Model] = set()
    for _, series in groupby(spots, lambda model: model.series):
        members = sorted(series, key=lambda model: model.top1)
        ends |= {members[0], members[-1]}

    def rank(model: Model) -> tuple[Any, ...]:
        first = ("ssld" not in model.name, (spots[model], model.top1) not in begins)
        return (*first, model not in front, model not in ends, -model.top1)

    def colour(model: Model) -> str:
        return COLOUR["more5"] if "ssld" in model.name else looks[chart.group(model) or ""]["color"]

    return [Label(model.name, spots[model], model.top1, colour(model)) for model in sorted(spots, key=rank)]


def _caption(chart: Chart, missing: Sequence[Model], unnamed: Sequence[str], ours: bool) -> str:
    """Return the text below the figure."""
    lines = [f"Published, not measured here: {SOURCE}.", *chart.notes, SHARED]
    if missing:
        lines.append(f"Without a number in the table: {', '.join(_together(missing))}.")
    if unnamed:
        lines.append(f"{len(unnamed)} points are without a name, for want of room; docs/zoo.md has them all.")
    if ours:
        lines.append("Rings: latency measured as the legend says; their top-1 is the published one.")
    return "\n".join(fill(line, width=int(15 * chart.size[0])) for line in lines)


def _together(missing: Sequence[Model]) -> list[str]:
    """Return the names of the models; those of a whole family as one."""
    full = Counter(cards.family(model.series) for model in cards.models().values())
    result = []
    for name, group in groupby(missing, lambda model: cards.family(model.series)):
        names = [model.name for model in group]
        result += [f"all of {name}"] if len(names) == full[name] else names
    return result
