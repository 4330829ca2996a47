"""Draw what happens to each training image as numbers in advance: a pure function of (seed, epoch, index).

The DALI graph only carries out what this module draws, so it holds no random operator and no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ssld.data import policies
from ssld.random import AUGMENT, SHIFT, uniform

TRIES = 10  # how often a crop or an erased rectangle is tried
# The columns of the random numbers of one image are fixed: to switch one augmentation on does not change the others.
_CROP, _CROP_AT, _FLIP, _ERASE, _ERASE_AT, _ERASE_IF, _AUTO = 0, 20, 22, 23, 43, 45, 46


@dataclass(frozen=True)
class Augment:
    """Hold the settings of the training augmentation; any object with these attributes serves.

    area, ratio: range of the crop's share of the image and of its width/height (Inception crop, arXiv:1409.4842);
        area (1, 1) means no random crop: the largest centred square.
    pad: after crop and resize the image gets so many black pixels on every side, and a square of its size is cut out of
        that at random: the crop of the literature on small images.
    flip: probability of a horizontal flip (True means 0.5).
    auto: none | autoaugment (arXiv:1805.09501) | randaugment (arXiv:1909.13719), the latter with `ra_ops` operations
        of strength `ra_magnitude` in 0..10.
    erase: probability of erasing a rectangle (arXiv:1708.04896).
    mixup, cutmix: alpha of the Beta distribution, 0 = off (arXiv:1710.09412, arXiv:1905.04899).
    """

    area: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    auto: str = "none"
    ra_ops: int = 2
    ra_magnitude: float = 9
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    pad: int = 0


@dataclass(frozen=True)
class Draw:
    """Hold the numbers for n images; all arrays have n rows.

    anchor, shape: int32 [n, 2], crop in pixels of the stored image, (top, left) and (height, width);
    shift: int32 [n, 2], pixel (y, x) of the output becomes that at (y, x) + shift, before the flip;
    flip: int32 [n]; erase_anchor, erase_shape: float32 [n, 2], whole pixels of the output, shape 0 = nothing erased;
    kind: int32 [n, slots], value: float32 [n, slots], warp: float32 [n, slots, 2, 3], see `policies.parameters`.
    """

    anchor: np.ndarray
    shape: np.ndarray
    shift: np.ndarray
    flip: np.ndarray
    erase_anchor: np.ndarray
    erase_shape: np.ndarray
    kind: np.ndarray
    value: np.ndarray
    warp: np.ndarray


def draw(augment: Any, seed: int, epoch: int, index: np.ndarray, sizes: np.ndarray, out: int) -> Draw:
    """Draw the numbers of the images `index` of a data set.

    sizes: int [n, 2], stored (height, width); out: side of the output.
    """
    u = uniform(seed, AUGMENT, epoch, index, _AUTO + policies.lanes(augment))
    anchor, shape = crop(u[:, _CROP:_CROP_AT], u[:, _CROP_AT:_FLIP], sizes, augment.area, augment.ratio)
    shift = np.floor(uniform(seed, SHIFT, epoch, index, 2) * (2 * augment.pad + 1)) - augment.pad
    flip = u[:, _FLIP] < (0.5 if augment.flip is True else float(augment.flip))
    erase_anchor, erase_shape = erase(u[:, _ERASE:_ERASE_AT], u[:, _ERASE_AT:_ERASE_IF], out)
    erase_shape = erase_shape * (u[:, _ERASE_IF] < augment.erase)[:, None]
    int32, float32 = np.int32, np.float32
    return Draw(
        anchor.astype(int32), shape.astype(int32), shift.astype(int32), flip.astype(int32),
        erase_anchor.astype(float32), erase_shape.astype(float32),
        *policies.parameters(*policies.draw(augment, u[:, _AUTO:]), out),
    )  # fmt: skip


def crop(
    u: np.ndarray, u_at: np.ndarray, sizes: np.ndarray, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes of random resized crops: anchor and shape, int64 [n, 2] each.

    It is the Inception crop (arXiv:1409.4842): the share of the area is uniform, and so is log(width/height); the first
    of ten tries that fits is taken, else the largest centred box whose ratio is in range. u: [n, 20], share and ratio
    of each try; u_at: [n, 2], the place. Where area is (1, 1), the box is the largest centred square.
    """
    height, width = sizes[:, 0].astype(np.int64), sizes[:, 1].astype(np.int64)
    if tuple(area) == (1, 1):
        side = np.minimum(height, width)
        shape = np.stack([side, side], axis=1)
        return (sizes - shape) // 2, shape
    pixels = (height * width)[:, None] * _between(u[:, 0::2], *area)
    aspect = np.exp(_between(u[:, 1::2], *np.log(ratio)))
    h, w = np.rint(np.sqrt(pixels / aspect)), np.rint(np.sqrt(pixels * aspect))
    fits = (h >= 1) & (w >= 1) & (h <= height[:, None]) & (w <= width[:, None])
    rows, first = np.arange(len(u)), fits.argmax(axis=1)
    shape = np.stack([h[rows, first], w[rows, first]], axis=1).astype(np.int64)
    none = ~fits.any(axis=1)
    shape[none] = _clamped(height[none], width[none], ratio)
    room = np.stack([height, width], axis=1) - shape
    anchor = np.where(none[:, None], room // 2, np.floor(u_at * (room + 1)).astype(np.int64))
    return anchor, shape


def erase(u: np.ndarray, u_at: np.ndarray, out: int) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes of random erasing in an out x out image: anchor and shape in whole pixels, [n, 2] each.

    A shape of 0 says that no try fits. The share of the area is uniform in 0.02..0.4 and height/width lies in
    0.3..1/0.3, as in arXiv:1708.04896, section 3.1; the ratio is drawn log-uniformly so that tall and wide boxes are as
    likely.
    """
    pixels = out * out * _between(u[:, 0::2], 0.02, 0.4)
    aspect = np.exp(_between(u[:, 1::2], np.log(0.3), -np.log(0.3)))
    h, w = np.rint(np.sqrt(pixels * aspect)), np.rint(np.sqrt(pixels / aspect))
    fits = (h < out) & (w < out)
    rows, first = np.arange(len(u)), fits.argmax(axis=1)
    shape = np.stack([h[rows, first], w[rows, first]], axis=1) * fits.any(axis=1)[:, None]
    return np.floor(u_at * (out - shape + 1)), shape


def _between(u: np.ndarray, low: float, high: float) -> np.ndarray:
    return low + u * (high - low)


def _clamped(height: np.ndarray, width: np.ndarray, ratio: tuple[float, float]) -> np.ndarray:
    """Return height and width of the largest box whose width/height lies in `ratio`."""
    w = np.minimum(width, np.rint(height * ratio[1]))
    h = np.minimum(height, np.rint(width / ratio[0]))
    return np.maximum(np.stack([h, w], axis=1), 1).astype(np.int64)
