"""This module draws a critical-difference diagram: mean ranks of methods on one axis, and bars over those that do not
differ. The picture is one SVG file that follows a light or a dark page; equal input gives equal text.

Source of the form: J. Demsar, Journal of Machine Learning Research 7 (2006), 1-30.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from ssld.report.grid_statistics import Ranks
from ssld.report.style import COLOURS
from ssld.spec.printable import in_markup

# Pixels; SIDE is kept for the names on the left and on the right.
WIDTH, SIDE, HEAD, ROW, BAR = 960, 230, 96, 20, 9
CSS = f"""{COLOURS}text {{ font: 13px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--ink); }}
.muted {{ fill: var(--muted); }} .middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }}
line, path {{ fill: none; stroke: var(--muted); }} .axis {{ stroke: var(--ink); }}
.same {{ stroke: var(--student); stroke-width: 4; stroke-linecap: round; }}
"""


def rank_diagram(title: str, ranks: Ranks) -> str:
    """Draw the ranks. The best methods are on the left; a thick bar joins methods that Nemenyi's test does not tell
    apart.
    """
    order, count = sorted(ranks.mean, key=lambda name: ranks.mean[name]), len(ranks.mean)
    groups, left = ranks.groups(), ceil(count / 2)
    top = HEAD + 14 + BAR * len(groups)
    height = top + ROW * (left + 1) + 12

    def at(rank: float) -> float:
        return SIDE + (WIDTH - 2 * SIDE) * (rank - 1) / (count - 1)

    body = [f'<text x="20" y="28">{in_markup(title)}</text>', *_axis(count, at), *_critical(ranks, at)]
    for number, group in enumerate(groups):
        y, ends = HEAD + 12 + BAR * number, (at(ranks.mean[group[0]]) - 3, at(ranks.mean[group[-1]]) + 3)
        body.append(f'<line class="same" x1="{ends[0]:.1f}" y1="{y}" x2="{ends[1]:.1f}" y2="{y}"/>')
    for number, name in enumerate(order):
        on_left = number < left
        y = top + ROW * ((number if on_left else count - 1 - number) + 1)
        edge, side = (SIDE - 12, "end") if on_left else (WIDTH - SIDE + 12, "start")
        x, text = at(ranks.mean[name]), f"{name}  {ranks.mean[name]:.1f}"
        body.append(f'<path d="M{x:.1f} {HEAD}V{y}H{edge}"/>')
        shift = -6 if on_left else 6
        body.append(f'<text class="{side}" x="{edge + shift}" y="{y + 4}">{in_markup(text)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{in_markup(title)}">\n<style>{CSS}</style>\n'
        f'<rect width="{WIDTH}" height="{height}" rx="10" fill="var(--card)"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _axis(count: int, at: Callable[[float], float]) -> list[str]:
    """Draw the axis and its marks."""
    parts = [f'<line class="axis" x1="{at(1):.1f}" y1="{HEAD}" x2="{at(count):.1f}" y2="{HEAD}"/>']
    for rank in range(1, count + 1, ceil(count / 12)):
        parts.append(f'<line class="axis" x1="{at(rank):.1f}" y1="{HEAD - 5}" x2="{at(rank):.1f}" y2="{HEAD}"/>')
        parts.append(f'<text class="muted middle" x="{at(rank):.1f}" y="{HEAD - 10}">{rank}</text>')
    parts.append(f'<text class="muted" x="{WIDTH - SIDE + 12}" y="{HEAD - 10}">mean rank; 1 is the best</text>')
    return parts


def _critical(ranks: Ranks, at: Callable[[float], float]) -> list[str]:
    """Draw the critical difference as a length above the axis."""
    reach = min(1 + ranks.critical, len(ranks.mean))
    start, end, y = at(1), at(reach), 52
    text = f"critical difference {ranks.critical:.2f} over {ranks.blocks} pairs"
    return [
        f'<path class="axis" d="M{start:.1f} {y - 4}V{y + 4}M{start:.1f} {y}H{end:.1f}M{end:.1f} {y - 4}V{y + 4}"/>',
        f'<text class="muted" x="{end + 10:.1f}" y="{y + 4}">{text}</text>',
    ]
