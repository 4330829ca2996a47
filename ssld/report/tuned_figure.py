"""This module draws the trials of `ssld tune`: held-out top-1 over each number that was searched, as one SVG file.

It is drawn by hand for the reason that scatter.py is: equal input gives equal text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from ssld.report.style import COLOURS
from ssld.spec.printable import in_markup

WIDTH, HEIGHT, LEFT, RIGHT, HEAD, FOOT = 470, 300, 56, 18, 34, 46  # the measures of a panel, pixels
LEGEND, BESIDE = 44, 2  # pixels; panels side by side
OWN, OTHER, BEST = "baseline", "student", "more1"  # CSS variables of `style`
CSS = f"""{COLOURS}text {{ font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }}
.muted {{ fill: var(--muted); }} .middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }}
.rule {{ stroke: var(--rule); }} .level {{ stroke: var(--muted); stroke-dasharray: 4 3; }}
"""
Row = Mapping[str, object]


@dataclass(frozen=True)
class Shown:
    """Hold a trial that finished: its number, its values by key, its top-1 in percent, and the ends of its interval."""

    trial: int
    values: Mapping[str, float]
    top1: float
    low: float
    high: float


@dataclass(frozen=True)
class Axis:
    """Map values to pixels. low, high: the ends; log: whether the axis is logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        share = (self._of(value) - self._of(self.low)) / (self._of(self.high) - self._of(self.low))
        return self.start + share * (self.end - self.start)

    def _of(self, value: float) -> float:
        return log10(value) if self.log else value

    def ticks(self) -> list[float]:
        """Return about five round numbers of the axis."""
        if self.log:
            decades = log10(self.high / self.low)
            digits = (1, 1.5, 2, 3, 4, 5, 7) if decades < 1 else (1, 2, 5) if decades < 2.5 else (1,)
            powers = range(floor(log10(self.low)), ceil(log10(self.high)) + 1)
            found = [digit * 10.0**power for power in powers for digit in digits]
        else:
            step = 10.0 ** floor(log10((self.high - self.low) / 2))
            step *= next((n for n in (1, 2, 5) if (self.high - self.low) / (n * step) <= 6), 10)
            found = [step * n for n in range(ceil(self.low / step), floor(self.high / step) + 1)]
        return [float(f"{tick:.6g}") for tick in found if self.low <= tick <= self.high]


def figure(title: str, rows: Sequence[Row], keys: Sequence[str], best: int) -> str | None:
    """Draw the trials that finished, a panel for each of the keys whose values are different numbers.

    rows: of `tuned.rows_of`, the first of which has the recipe's own values. best: the number of the best trial.
    Returns None where nothing can be drawn.
    """
    shown = [_shown(row, keys) for row in rows if isinstance(row["top1"], float)]
    drawn = [key for key in keys if len({one.values.get(key) for one in shown} - {None}) > 1]
    if not drawn:
        return None
    columns = min(BESIDE, len(drawn))
    width, height = WIDTH * columns, LEGEND + HEIGHT * ceil(len(drawn) / BESIDE)
    body = [_legend(best)]
    for number, key in enumerate(drawn):
        place = f"translate({WIDTH * (number % BESIDE)} {LEGEND + HEIGHT * (number // BESIDE)})"
        body.append(f'<g transform="{place}">{_panel(key, shown, best)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{in_markup(title)}">\n<style>{CSS}</style>\n'
        f'<rect width="{width}" height="{height}" rx="10" fill="var(--card)"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _shown(row: Row, keys: Sequence[str]) -> Shown:
    values = {
        key: float(value) for key in keys if isinstance(value := row[key], (int, float)) and not isinstance(value, bool)
    }
    trial, top1, low, high = (row[name] for name in ("trial", "top1", "low", "high"))
    assert isinstance(trial, int)
    assert isinstance(top1, float)
    assert isinstance(low, float)
    assert isinstance(high, float)
    return Shown(trial, values, top1, low, high)


def _legend(best: int) -> str:
    """Draw what the colours mean."""
    named = {"the recipe's own values": OWN, "another trial": OTHER} | ({"most images right": BEST} if best > 1 else {})
    parts, x = [], 24.0
    for words, colour in named.items():
        parts.append(f'<circle cx="{x:g}" cy="22" r="4" fill="var(--{colour})"/>')
        parts.append(f'<text x="{x + 10:g}" y="26">{in_markup(words)}</text>')
        x += 34 + 6.4 * len(words)
    return "".join(parts)


def _panel(key: str, shown: Sequence[Shown], best: int) -> str:
    """Draw top-1 over the values of one key, with an interval through each point."""
    points = [one for one in shown if key in one.values]
    values = [one.values[key] for one in points]
    log = min(values) > 0 and max(values) / min(values) > 3
    reach = (max(values) / min(values)) ** 0.06 if log else 0.06 * (max(values) - min(values))
    ends = (min(values) / reach, max(values) * reach) if log else (min(values) - reach, max(values) + reach)
    across = Axis(*ends, LEFT, WIDTH - RIGHT, log)
    low, high = min(one.low for one in points), max(one.high for one in points)
    margin = 0.06 * (high - low or 1)
    up = Axis(max(0.0, low - margin), min(100.0, high + margin), HEIGHT - FOOT, HEAD)
    parts = [f'<text class="muted" x="{LEFT}" y="{HEAD - 14}">held-out top-1, %</text>']
    parts.append(
        f'<text class="muted middle" x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 8}">{in_markup(key)}</text>'
    )
    for tick in up.ticks():
        y = f"{up.at(tick):.1f}"
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="muted end" x="{LEFT - 8}" y="{up.at(tick) + 4:.1f}">{tick:g}</text>')
    for tick in across.ticks():
        parts.append(f'<text class="muted middle" x="{across.at(tick):.1f}" y="{HEIGHT - FOOT + 17}">{tick:g}</text>')
    own = up.at(points[0].top1) if points[0].trial == 1 else None
    if own is not None:
        parts.append(f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{own:.1f}" y2="{own:.1f}"/>')
    return "".join([*parts, *(_point(one, key, across, up, best) for one in reversed(points))])


def _point(one: Shown, key: str, across: Axis, up: Axis, best: int) -> str:
    """Draw a trial: its interval, and a dot."""
    x, colour = f"{across.at(one.values[key]):.1f}", OWN if one.trial == 1 else BEST if one.trial == best else OTHER
    ends = f'x1="{x}" x2="{x}" y1="{up.at(one.low):.1f}" y2="{up.at(one.high):.1f}"'
    name = f"trial {one.trial}: {key} {one.values[key]:g}, {one.top1:.2f} % ({one.low:.2f} to {one.high:.2f})"
    line = f'<line {ends} stroke="var(--{colour})" stroke-opacity="0.5"/>'
    dot = f'<circle class="dot" cx="{x}" cy="{up.at(one.top1):.1f}" r="4.5" fill="var(--{colour})"/>'
    return f"<g><title>{in_markup(name)}</title>{line}{dot}</g>"
