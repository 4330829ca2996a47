"""This module writes names beside the points of a Matplotlib figure.

No name covers a point, another name or the frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import Any

import numpy as np
from matplotlib.axes import Axes

SIZE = 7.5  # the size of the letters
HALF, THIN = 6.0, 2.0  # half the width of a point and of a line, pixels
# Distances of a name from its point, in the order in which they are tried; from the third on a line joins them.
DISTANCES = (9, 15, 24, 36, 50, 66, 84, 104, 126, 150)
# Directions in sixteenths of a circle, in the order in which they are tried.
TURNS = (0, 8, 4, 12, 2, 14, 6, 10, 1, 15, 7, 9, 3, 13, 5, 11)
Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Label:
    """Hold a name, the point that it belongs to (in data), and its colour."""

    name: str
    x: float
    y: float
    colour: str


def write_labels(axes: Axes, labels: Sequence[Label], keep_off: Sequence[tuple[float, float]] = ()) -> list[str]:
    """Write the names, the first ones first, and return those for which there was no room. The axes must have their
    limits.

    No name lies on a point, on another name, or on the spots of `keep_off`, which only the line to a name may cross.
    """
    figure: Any = axes.figure
    renderer = figure.canvas.get_renderer()
    back = axes.transData.inverted()
    frame = axes.get_window_extent(renderer)
    points = axes.transData.transform([(label.x, label.y) for label in labels])
    others = axes.transData.transform(keep_off) if len(keep_off) else np.empty((0, 2))
    thin_boxes, boxes, left_out = _around(others, THIN), _around(points, HALF), []
    for label, point in zip(labels, points, strict=True):
        text = axes.text(0, 0, label.name, fontsize=SIZE, color=label.colour, zorder=5, verticalalignment="bottom")
        extent = text.get_window_extent(renderer)
        for box, joined in places(point, extent.width + 3, extent.height):
            if box[0] < frame.x0 or box[2] > frame.x1 or box[1] < frame.y0 or box[3] > frame.y1:
                continue
            if hit(box, boxes) or hit(box, thin_boxes):
                continue
            line = path(point, box) if joined else np.empty((0, 2))
            if not any(hit((x, y, x, y), boxes) for x, y in line):
                break
        else:
            text.remove()
            left_out.append(label.name)
            continue
        x, y = back.transform((box[0] + 1.5, box[1]))
        text.set_position((x, y))
        boxes = np.vstack([boxes, box, _around(line, THIN)])
        if joined:
            axes.plot(*back.transform(line).T, color=label.colour, linewidth=0.5, alpha=0.7, zorder=2)
    return left_out


def places(point: np.ndarray, width: float, height: float) -> Iterator[tuple[Box, bool]]:
    """Yield boxes around a point, the nearest first, and whether a line must show whose they are."""
    for distance in DISTANCES:
        for turn in TURNS:
            across, up = cos(2 * pi * turn / 16), sin(2 * pi * turn / 16)
            x = point[0] + distance * across + (across - 1) / 2 * width
            y = point[1] + distance * up + (up - 1) / 2 * height
            yield (x, y, x + width, y + height), distance > DISTANCES[1]


def path(point: np.ndarray, box: Box) -> np.ndarray:
    """Return spots from a point, its own room left out, to just before the nearest side of its name."""
    end = np.array([np.clip(point[0], box[0], box[2]), np.clip(point[1], box[1], box[3])])
    length = np.hypot(*(end - point))
    return point + np.arange(1.5 * HALF, length - 1, 2.0)[:, None] * (end - point) / length


def hit(box: Box, boxes: np.ndarray) -> bool:
    """Return whether a box lies on one of the boxes [n, 4]."""
    left, bottom, right, top = boxes.T
    return bool(((box[0] < right) & (left < box[2]) & (box[1] < top) & (bottom < box[3])).any())


def _around(spots: np.ndarray, half: float) -> np.ndarray:
    """Return boxes [n, 4] around spots, `half` pixels to each side."""
    return np.hstack([spots - half, spots + half])
