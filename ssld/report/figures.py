"""This module draws the figures of a run's page as SVG text for one HTML page. Equal input gives equal text.

Matplotlib draws in stand-in colours, and `svg` replaces them by the page's CSS variables: so a figure follows a light
or a dark page.
"""

import io
import re
import warnings
from itertools import cycle
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from ssld.spec.printable import printable

INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
TEACHER, BASELINE, STUDENT = "#050505", "#060606", "#070707"
MORE = ("#080808", "#090909", "#0a0a0a", "#0b0b0b")  # the student's stages after the first have these
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "card",
    TEACHER: "teacher",
    BASELINE: "baseline",
    STUDENT: "student",
    **{colour: f"more{index}" for index, colour in enumerate(MORE, 1)},
}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ssld",
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.grid": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "axes.unicode_minus": False,
    "text.parse_math": False,  # a name may contain a dollar
}
POINTS = 300  # a curve has about so many points
MARKERS = "osD^vPX*"
DASHED: dict[str, Any] = {"linestyle": (0, (4, 3)), "linewidth": 1.2}
LINES: dict[str, dict[str, Any]] = {  # the looks of the networks in the latency figure
    "teacher": {"color": TEACHER, "marker": "o", "linestyle": ""},
    "baseline": {"color": BASELINE, **DASHED},
    "student": {"color": STUDENT, "marker": "o", "linestyle": ""},
}
CLASSES = 20  # the figure by class has at most so many bars


def stage_colours(stages: dict[str, Any], baseline: str | None) -> dict[str, str]:
    """Return one colour for each stage, the same in every figure; `stages` as in result.json."""
    colours, free = {}, [STUDENT, *MORE]
    for name, stage in stages.items():
        if stage["network"] == "teacher":
            colours[name] = TEACHER
        elif name == baseline:
            colours[name] = BASELINE
        else:
            colours[name] = free.pop(0) if len(free) > 1 else free[0]
    return colours


def curves(records: list[dict[str, Any]], colour: str) -> str:
    """Draw loss and top-1 of one stage over its steps: every batch thin, smoothed thick, evaluations as points."""
    train, evals = ([r for r in records if r["kind"] == kind] for kind in ("train", "eval"))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.5, 3.1), layout="constrained")
        loss, top1 = figure.subplots(2, 1, sharex=True)
        for axes, key, label in ((loss, "loss", "training loss"), (top1, "top1", "top-1, %")):
            steps, values = _series(train, key)
            _thin_and_smooth(axes, steps, values, colour)
            axes.set_ylabel(label)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            if len(values) > 20 and key == "loss":
                low, high = np.percentile(values, (0, 98))
                axes.set_ylim(low - 0.05 * (high - low or 1), high + 0.1 * (high - low or 1))
        steps, values = _series(evals, "top1")
        if len(steps):
            top1.plot(steps, values, color=INK, linewidth=0.9, marker="o", markersize=2.6 if len(steps) < 40 else 1.5)
        top1.set_xlabel("step")
        top1.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        top1.xaxis.set_major_formatter(FuncFormatter(_short))
        figure.align_ylabels()
        return svg(figure, "Training loss and accuracy over steps")


def accuracy(
    records: list[dict[str, Any]], result: dict[str, Any], after: dict[str, str], colours: dict[str, str]
) -> str:
    """Draw the student's validation top-1 over steps.

    A stage begins where the stage ended that it continues (`after`).
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.7, 3.3), layout="constrained")
        axes = figure.subplots()
        ends: dict[str, tuple[float, float]] = {}
        finals = (
            [] if not result.get("teacher") or result["teacher"].get("top1") is None else [result["teacher"]["top1"]]
        )
        if finals:
            axes.axhline(finals[0], color=TEACHER, label="teacher", **DASHED)
        for name in [name for name, stage in result["stages"].items() if stage["network"] == "student"]:
            steps, values = _series([r for r in records if r["stage"] == name and r["kind"] == "eval"], "top1")
            if not len(steps):
                continue
            begin = ends.get(after.get(name, ""))
            steps = steps + (begin[0] if begin else 0)
            ends[name] = (steps[-1], values[-1])
            finals.append(values[-1])
            line = np.array([begin, *zip(steps, values, strict=True)] if begin else [*zip(steps, values, strict=True)])
            axes.plot(
                *line.T,
                color=colours[name],
                label=printable(name),
                marker="o",
                markersize=2.8 if len(steps) < 60 else 0,
            )
        _zoom(axes, finals)
        axes.set(xlabel="step", ylabel="validation top-1, %")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(_short))
        figure.legend(loc="outside upper left", ncols=5, columnspacing=1.2)
        return svg(figure, "Validation accuracy over steps")


def latency(rows: list[dict[str, Any]], result: dict[str, Any]) -> str | None:
    """Draw top-1 against the median latency of the smallest batch, with a colour a network and a marker an engine.

    Returns None when there is no point to draw.
    """
    scores = {name: result.get(name) or {} for name in ("teacher", "baseline")} | {"student": result}
    tops: dict[str, float] = {
        name: numbers["top1"] for name, numbers in scores.items() if numbers.get("top1") is not None
    }
    batch = min((row["batch"] for row in rows), default=0)
    fp32 = [row for row in rows if row["batch"] == batch and row["precision"] == "fp32"]
    points = [row for row in fp32 if row["network"] in {"teacher", "student"} & tops.keys()]
    tops = {name: top for name, top in tops.items() if name in {"baseline", *(row["network"] for row in points)}}
    if not points:
        return None
    markers = dict(zip(dict.fromkeys(row["engine"] for row in points), cycle(MARKERS), strict=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.7, 3.3), layout="constrained")
        axes = figure.subplots()
        for row in points:
            look = {**LINES[row["network"]], "marker": markers[row["engine"]], "markersize": 7}
            axes.plot(row["p50_ms"], tops[row["network"]], alpha=0.9, clip_on=False, **look)
        if "baseline" in tops:
            axes.axhline(tops["baseline"], **LINES["baseline"])
        times = [row["p50_ms"] for row in points]
        _time_axis(axes, min(times), max(times))
        low, high = min(tops.values()), max(tops.values())
        margin = max(0.25 * (high - low), 0.5)
        axes.set(ylim=(low - margin, min(high + margin, 100.5)), ylabel="top-1, %")
        axes.set_xlabel(f"median latency, ms (batch {batch}, fp32)")
        networks = [Line2D([], [], label=name, **LINES[name]) for name in tops]
        engines = [Line2D([], [], color=MUTED, marker=m, linestyle="", label=name) for name, m in markers.items()]
        figure.legend(handles=networks, loc="outside upper left", ncols=3, columnspacing=1.4)
        figure.legend(handles=engines, loc="outside lower center", ncols=4, columnspacing=1.2, handletextpad=0.3)
        return svg(figure, "Accuracy against latency")


def per_class(shares: list[float | None], names: list[str], label: str, title: str) -> str:
    """Draw a share, in percent, for each true class; of many classes the lowest CLASSES."""
    bars = [(share, name) for share, name in zip(shares, names, strict=True) if share is not None]
    if len(bars) > CLASSES:
        bars = sorted(bars)[:CLASSES]
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(4.7, 0.55 + 0.21 * len(bars)), layout="constrained")
        axes = figure.subplots()
        values, spots = [share for share, _ in bars], range(len(bars))
        axes.barh(spots, values, color=STUDENT, height=0.62)
        for spot, value in zip(spots, values, strict=True):
            axes.text(value + 1, spot, f"{value:.1f}" if value < 100 else "100", va="center", color=INK, fontsize=8)
        labels = [printable(name) for _, name in bars]
        axes.set_yticks(spots, [name if len(name) <= 24 else name[:22] + "…" for name in labels])
        axes.set(
            xlim=(0, 108),
            ylim=(len(bars) - 0.4, -0.6),
            xlabel=label,
            xticks=range(0, 101, 20),
        )
        return svg(figure, title)


def reliability(bins: dict[str, list[Any]]) -> str:
    """Draw accuracy against confidence in bins of equal width, beside the diagonal, and below the share of images in
    each bin.

    bins: lists `images`, `confidence`, `accuracy`, the last two in percent with None for an empty bin.
    """
    count = len(bins["images"])
    filled = [i for i in range(count) if bins["images"][i]]
    middles, width = [100 * (i + 0.5) / count for i in filled], 100 / count
    right, sure = ([bins[name][i] for i in filled] for name in ("accuracy", "confidence"))
    shares = [100 * bins["images"][i] / sum(bins["images"]) for i in filled]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.7, 4.2), layout="constrained")
        top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        top.plot([0, 100], [0, 100], color=MUTED, label="perfectly calibrated", **DASHED)
        top.bar(middles, right, width=0.9 * width, color=STUDENT, label="accuracy")
        top.plot(sure, right, color=INK, linestyle="", marker="o", markersize=2.6, label="at its mean confidence")
        top.set(ylabel="accuracy, %", xlim=(0, 100), ylim=(0, 103), yticks=range(0, 101, 20))
        below.bar(middles, shares, width=0.9 * width, color=MUTED)
        below.set(xlabel="confidence: probability of the answer, %", ylabel="images, %", xticks=range(0, 101, 20))
        below.yaxis.set_major_locator(MaxNLocator(3))
        figure.align_ylabels()
        figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2)
        return svg(figure, "Reliability diagram")


def svg(figure: Figure, title: str) -> str:
    """Return the figure as SVG text for an HTML page: no ids of groups, no namespaces, the page's colours and font."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        # Text stays text, and the reader's browser has the letters of a script that Matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasSVG(figure).print_svg(buffer, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None
    text = f'<svg {view[0]} role="img" aria-label="{title}">' + text[text.index(">") + 1 :]
    text = re.sub(r"font: (?:\w+ )*?([\d.]+px) [^;\"]*", r"font-size: \1", text)
    for colour, name in VARIABLES.items():
        text = text.replace(colour, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", text)


def _series(records: list[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a key, from the records that have it."""
    pairs = [(r["step"], r[key]) for r in records if r.get(key) is not None]
    steps, values = zip(*pairs, strict=True) if pairs else ((), ())
    return np.array(steps, float), np.array(values, float)


def _thin_and_smooth(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    """Draw every value thin and their moving average thick."""
    if not len(steps):
        return
    stride = -(-len(steps) // POINTS)
    axes.plot(steps[::stride], values[::stride], color=colour, linewidth=0.7, alpha=0.35)
    half = max(1, len(values) // 40)
    total = np.cumsum([0.0, *values])
    low, high = np.maximum(np.arange(len(values)) - half, 0), np.minimum(np.arange(len(values)) + half + 1, len(values))
    smooth = (total[high] - total[low]) / (high - low)
    places = np.unique([*range(0, len(steps), stride), len(steps) - 1])
    axes.plot(steps[places], smooth[places], color=colour)


def _zoom(axes: Axes, finals: list[float]) -> None:
    """Show where the curves end; how they rose from chance may leave the frame."""
    if finals:
        spread = max(finals) - min(finals)
        axes.set_ylim(max(0.0, min(finals) - max(8.0, 1.5 * spread)), min(100.5, max(finals) + max(1.0, 0.25 * spread)))


def _time_axis(axes: Axes, low: float, high: float) -> None:
    """Scale the axis of milliseconds: logarithmic where the times differ by more than a factor of 4."""
    if high > 4 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.6, high * 1.6)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_xlim(0, 1.15 * high)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _short(value: float, _: Any) -> str:
    """Write thousands as `k`."""
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
