"""This module draws accuracy against cost as one SVG file that follows a light or a dark page.

Equal input gives equal text. It is drawn by hand because the files are committed, and must not change with the version
or the fonts of Matplotlib.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, cos, floor, log10, pi, sin

from ssld.report.style import COLOURS
from ssld.spec.printable import in_markup

WIDTH, HEIGHT, LEFT, RIGHT, HEAD, FOOT = 960, 580, 52, 22, 30, 44  # the measures of a panel, pixels
LEGEND = 58
FONT, LETTER = 10.5, 6.1  # the size of a label, and a generous width of a letter, pixels
CSS = f"""{COLOURS}text {{ font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }}
.muted {{ fill: var(--muted); }} .label {{ font-size: {FONT}px; paint-order: stroke; stroke: var(--card);
stroke-width: 3px; stroke-linejoin: round; }} .middle {{ text-anchor: middle; }}
.end {{ text-anchor: end; }} .rule {{ stroke: var(--rule); }} .best {{ fill: none; stroke: var(--muted);
stroke-dasharray: 4 3; }} .dot {{ opacity: 0.8; }} .star {{ stroke: var(--card); }}
"""
Box = tuple[float, float, float, float]  # (left, top, right, bottom)


@dataclass(frozen=True)
class Point:
    """Describe a network: its name, cost and accuracy, the group that gives its colour, and whether it is a star."""

    name: str
    x: float
    y: float
    group: str
    star: bool = False


@dataclass(frozen=True)
class Panel:
    """Hold points in percent (`height` says of what) over a logarithmic axis, which `label` names."""

    label: str
    height: str
    points: Sequence[Point]


def scatter(title: str, panels: Sequence[Panel], colours: Mapping[str, str], star: str) -> str:
    """Draw one panel below the other, under one legend. colours: {group: CSS variable}. star: what a star means."""
    height = LEGEND + HEIGHT * len(panels)
    body = [_legend(colours, star)]
    body += [
        f'<g transform="translate(0 {LEGEND + HEIGHT * n})">{_panel(p, colours)}</g>' for n, p in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{in_markup(title)}">\n<style>{CSS}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="var(--card)"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def best(points: Iterable[Point]) -> list[Point]:
    """Return the points that no other beats at the same or a lower cost, cheapest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _legend(colours: Mapping[str, str], star: str) -> str:
    """Draw the legend."""
    parts, x, y = [], 30.0, 24
    for name in [*colours, star]:
        if x + 22 + LETTER * len(name) > WIDTH:
            x, y = 30.0, y + 22
        mark = _dot(x, y, colours[name]) if name in colours else _star(x, y, "ink")
        parts.append(f'{mark}<text x="{x + 11:g}" y="{y + 4}">{in_markup(name)}</text>')
        x += 36 + LETTER * len(name)
    return "\n".join(parts)


def _panel(panel: Panel, colours: Mapping[str, str]) -> str:
    """Draw one panel."""
    xs, ys = [point.x for point in panel.points], [point.y for point in panel.points]
    span = max(log10(max(xs) / min(xs)), 0.3)  # points of nearly one cost must not fill the width
    low, high = log10(min(xs)) - 0.06 * span, log10(max(xs)) + 0.03 * span
    floor_y, ceiling = floor(min(ys) - 1), max(ys) + 2
    step = 5 if ceiling - floor_y > 12 else 1

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (log10(x) - low) / (high - low), (y - floor_y) / (ceiling - floor_y)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - FOOT - up * (HEIGHT - HEAD - FOOT)

    placed = {point: at(point.x, point.y) for point in sorted(panel.points, key=lambda point: (point.star, point.name))}
    parts = [_across(y, *at(10**low, y)) for y in range(step * ceil(floor_y / step), ceil(ceiling), step)]
    parts += [_down(x, at(x, 1)[0]) for x in _ticks(low, high)]
    parts.append(f'<text class="muted middle" x="{WIDTH / 2:g}" y="{HEIGHT - 8}">{in_markup(panel.label)}</text>')
    parts.append(f'<text class="muted" x="{LEFT}" y="{HEAD - 12}">{in_markup(panel.height)}</text>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (placed[point] for point in best(panel.points)))
    parts.append(f'<polyline class="best" points="{line}"/>')
    for point, (x, y) in placed.items():
        mark = (_star if point.star else _dot)(x, y, colours[point.group])
        parts.append(f"<g><title>{in_markup(point.name)}: {point.y:.2f} %, {point.x:g}</title>{mark}</g>")
    return "\n".join([*parts, *_labels(panel.points, placed)])


def _across(y: float, left: float, height: float) -> str:
    """Draw a horizontal rule with its number."""
    rule = f'<line class="rule" x1="{left:.1f}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
    return f'{rule}<text class="muted end" x="{left - 6:.1f}" y="{height + 4:.1f}">{y} %</text>'


def _down(x: float, left: float) -> str:
    """Draw a vertical rule with its number."""
    rule = f'<line class="rule" x1="{left:.1f}" x2="{left:.1f}" y1="{HEAD}" y2="{HEIGHT - FOOT}"/>'
    return f'{rule}<text class="muted middle" x="{left:.1f}" y="{HEIGHT - FOOT + 17}">{x:g}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Return the numbers of the logarithmic axis."""
    digits = (1, 2, 5) if high - low > 0.7 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    every = [digit * 10.0**power for power in range(floor(low), ceil(high) + 1) for digit in digits]
    return [round(tick, 9) for tick in every if low <= log10(tick) <= high]


def _dot(x: float, y: float, colour: str) -> str:
    """Draw a dot."""
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--{colour})"/>'


def _star(x: float, y: float, colour: str) -> str:
    """Draw a star."""
    corners = [(x + r * sin(n * pi / 5), y - r * cos(n * pi / 5)) for n, r in enumerate((8.5, 3.8) * 5)]
    return f'<polygon class="star" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}" fill="var(--{colour})"/>'


def _labels(points: Sequence[Point], placed: Mapping[Point, tuple[float, float]]) -> list[str]:
    """Write the names of the best at their cost, of the best of every group and of the stars, where there is room."""
    front = sorted(best(points), key=lambda point: (not point.star, -point.y))
    groups = dict.fromkeys(point.group for point in points)
    tops = [max((point for point in points if point.group == group), key=lambda point: point.y) for group in groups]
    boxes = [_around(point, *placed[point]) for point in points]
    parts = []
    for point in dict.fromkeys([*front, *tops, *(point for point in points if point.star)]):
        for x, y, end in _places(*placed[point]):
            box = _box(x, y, end, point.name)
            if box[0] > LEFT and box[2] < WIDTH and box[1] > HEAD / 2 and not any(_overlap(box, b) for b in boxes):
                kind = "label end" if end else "label"
                parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{in_markup(point.name)}</text>')
                boxes.append(box)
                break
    return parts


def _places(x: float, y: float) -> list[tuple[float, float, bool]]:
    """Return baselines to try, and whether the text ends there: left above comes first, where a front leaves room."""
    left = [(x - 8, y + dy, True) for dy in (-2, 3, -7)]
    right = [(x + 8, y + dy, False) for dy in (4, 9, -3, 14)]
    return [*left, *right, (x - 4, y - 14, True), (x + 4, y + 20, False)]


def _around(point: Point, x: float, y: float) -> Box:
    """Return the box around a point."""
    half = 7 if point.star else 4
    return (x - half, y - half, x + half, y + half)


def _box(x: float, y: float, end: bool, name: str) -> Box:
    """Return the box of a name."""
    width = LETTER * len(name)
    return (x - width if end else x, y - FONT + 2, x if end else x + width, y + 2)


def _overlap(a: Box, b: Box) -> bool:
    """Return whether two boxes overlap."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
