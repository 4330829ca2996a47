"""This module draws differences with their intervals, a line each, as one SVG file that follows a light or a dark page.

It is drawn by hand for the reason that scatter.py is: equal input gives equal text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from ssld.report.style import COLOURS
from ssld.spec.printable import in_markup

# Pixels; NAME and VERDICT stand left and right of the picture.
WIDTH, NAME, VERDICT, ROW, HEAD, FOOT = 960, 280, 190, 30, 62, 50
CSS = f"""{COLOURS}text {{ font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }}
.muted {{ fill: var(--muted); }} .middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }}
.rule {{ stroke: var(--rule); }} .zero {{ stroke: var(--muted); }} .published {{ fill: none; stroke: var(--baseline);
stroke-width: 1.6; }}
"""


@dataclass(frozen=True)
class Line:
    """Hold a difference in points, the ends of its interval, and the published one, or None where there is none."""

    name: str
    verdict: str
    colour: str  # the name of a CSS variable of `style`
    mean: float | None = None
    ends: tuple[float, float] | None = None
    published: float | None = None


def forest(title: str, lines: Sequence[Line]) -> str:
    """Draw the lines below each other, over one axis whose middle is 0."""
    height = HEAD + ROW * len(lines) + FOOT
    reach = _reach(lines)

    def at(points: float) -> float:
        return NAME + (WIDTH - NAME - VERDICT) * (points + reach) / (2 * reach)

    body = [f'<text x="20" y="28">{in_markup(title)}</text>', *_legend(), *_axis(reach, height, at)]
    body += [_row(line, HEAD + ROW * (number + 0.5), at) for number, line in enumerate(lines)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{in_markup(title)}">\n<style>{CSS}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="var(--card)"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _reach(lines: Sequence[Line]) -> float:
    """Return half the width of the axis: whole points, at least one."""
    values = [abs(v) for line in lines for v in (line.mean, line.published, *(line.ends or ())) if v is not None]
    return float(max(1, ceil(1.05 * max(values, default=1.0))))


def _legend() -> list[str]:
    """Draw the legend."""
    x, y = NAME, 50
    return [
        f'<circle cx="{x}" cy="{y - 4}" r="4.5" fill="var(--ink)"/>'
        f'<text class="muted" x="{x + 10}" y="{y}">measured here, mean and 95 % interval over seeds</text>',
        _diamond(x + 370, y - 4) + f'<text class="muted" x="{x + 381}" y="{y}">published, on ImageNet</text>',
    ]


def _axis(reach: float, height: int, at: Callable[[float], float]) -> list[str]:
    """Draw the axis, its marks and their rules."""
    step = ceil(reach / 4)
    bottom = height - FOOT
    parts = []
    for points in range(-int(reach) // step * step, int(reach) + 1, step):
        if abs(points) <= reach:
            kind, x, text = "rule" if points else "zero", f"{at(points):.1f}", f"{points:+d}" if points else "0"
            parts.append(f'<line class="{kind}" x1="{x}" y1="{HEAD}" x2="{x}" y2="{bottom}"/>')
            parts.append(f'<text class="muted middle" x="{x}" y="{bottom + 18}">{text}</text>')
    middle = f'x="{at(0):.1f}" y="{bottom + 38}"'
    return [*parts, f'<text class="muted middle" {middle}>difference, points of top-1</text>']


def _row(line: Line, y: float, at: Callable[[float], float]) -> str:
    """Draw one line."""
    colour = f"var(--{line.colour})"
    parts = [f'<text class="end" x="{NAME - 14}" y="{y + 4:g}">{in_markup(line.name)}</text>']
    if line.ends:
        low, high = map(at, line.ends)
        parts.append(f'<line x1="{low:.1f}" y1="{y:g}" x2="{high:.1f}" y2="{y:g}" stroke="{colour}" stroke-width="2"/>')
    if line.mean is not None:
        parts.append(f'<circle cx="{at(line.mean):.1f}" cy="{y:g}" r="4.5" fill="{colour}"/>')
    if line.published is not None:
        parts.append(_diamond(at(line.published), y))
    parts.append(f'<text class="muted" x="{WIDTH - VERDICT + 14}" y="{y + 4:g}">{in_markup(line.verdict)}</text>')
    return "".join(parts)


def _diamond(x: float, y: float) -> str:
    """Draw the mark of a published number."""
    return f'<path class="published" d="M{x:.1f} {y - 6:g}l6 6l-6 6l-6 -6z"/>'
