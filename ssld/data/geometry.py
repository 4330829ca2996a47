"""Round the sizes of a resize by one rule: half up.

The short side becomes the one that is asked for; the long side keeps the ratio and is rounded half up, in whole
numbers, so that no float decides. The corner of the square in the middle is rounded down. The programs of examples/ do
the same.
"""

from __future__ import annotations

import numpy as np


def half_up(numerator: int, denominator: int) -> int:
    """Return the quotient of two whole numbers above 0, rounded to the nearest; one half is rounded up."""
    return (2 * numerator + denominator) // (2 * denominator)


def eval_geometry(sizes: np.ndarray, resize: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the resized (height, width) and the top-left corner of the centre crop, int64 [n, 2] each.

    sizes: the stored sizes, [n, 2]. The short side becomes `resize`, the long side keeps the ratio, rounded half up;
    the corner is rounded down.
    """
    short = sizes.min(axis=1, keepdims=True)
    resized = (2 * sizes * resize + short) // (2 * short)
    return resized, (resized - size) // 2
