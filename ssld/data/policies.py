"""Draw AutoAugment and RandAugment as data: which operation each slot of each image carries out, and its parameters.

A strength is a number in 0..1, from the left to the right end of the ranges of AutoAugment's table 6. `parameters`
turns it into what the graph needs; the graph knows only KINDS of operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ssld.errors import DataError, did_you_mean
from ssld.spec.augmentations import POLICIES

# These are the operations of the graph. Rotation and shears are one affine warp; invert solarises everything.
KINDS = (
    "identity", "warp", "translate", "solarize", "posterize", "brightness", "color", "contrast", "sharpness",
    "auto_contrast", "equalize",
)  # fmt: skip
SAME_KIND = {
    "invert": "solarize", "rotate": "warp", "shear_x": "warp", "shear_y": "warp", "translate_x": "translate",
    "translate_y": "translate",
}  # fmt: skip
# The first 14 are RandAugment's (arXiv:1909.13719, section 3); invert is AutoAugment's only.
OPS = (
    "identity", "auto_contrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast", "brightness",
    "sharpness", "shear_x", "shear_y", "translate_x", "translate_y", "invert",
)  # fmt: skip
RANDAUGMENT_OPS = 14
_KIND = np.array([KINDS.index(SAME_KIND.get(op, op)) for op in OPS])

# AutoAugment's ImageNet policy (arXiv:1805.09501, appendix, table 9) is lines of (operation, probability, level 0..9).
IMAGENET_POLICY = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 4), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 7)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 2)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 8), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 2)),
    (("equalize", 0.0, 7), ("equalize", 0.8, 8)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 8)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 9)),
    (("color", 0.4, 0), ("equalize", 0.6, 3)),
    (("equalize", 0.4, 7), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("auto_contrast", 0.6, 5)),
    (("invert", 0.6, 4), ("equalize", 1.0, 8)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 8), ("equalize", 0.6, 3)),
)
_OP = np.array([[OPS.index(op) for op, _, _ in pair] for pair in IMAGENET_POLICY])
_CHANCE = np.array([[chance for _, chance, _ in pair] for pair in IMAGENET_POLICY])
_STRENGTH = np.array([[level / 9 for _, _, level in pair] for pair in IMAGENET_POLICY])


def slots(augment: Any) -> int:
    """Count the operations that an image passes one after the other. Settings that do not hold raise DataError."""
    if augment.auto not in POLICIES:
        raise DataError(f"augment.auto: no policy {augment.auto!r}{did_you_mean(augment.auto, POLICIES)}")
    if augment.auto == "randaugment" and not (augment.ra_ops >= 1 and 0 <= augment.ra_magnitude <= 10):
        raise DataError(
            f"augment: randaugment with ra_ops {augment.ra_ops}, ra_magnitude {augment.ra_magnitude}; "
            f"ra_ops is at least 1, ra_magnitude 0..10"
        )
    return {"none": 0, "autoaugment": 2, "randaugment": augment.ra_ops}[augment.auto]


def lanes(augment: Any) -> int:
    """Count the random numbers of one image.

    They are one for the sub-policy, then for each slot an operation (or chance) and a sign.
    """
    return 1 + 2 * slots(augment)


def draw(augment: Any, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the operation (place in OPS) and the signed strength in -1..1, [n, slots] each.

    u: uniform numbers, [n, lanes].
    """
    count = slots(augment)
    choice, sign = u[:, 1 : 1 + count], np.where(u[:, 1 + count :] < 0.5, -1.0, 1.0)
    if augment.auto == "randaugment":
        op = np.floor(choice * RANDAUGMENT_OPS).astype(np.int64)
        return op, sign * augment.ra_magnitude / 10
    if augment.auto == "autoaugment":
        sub = np.floor(u[:, 0] * len(IMAGENET_POLICY)).astype(np.int64)
        return np.where(choice < _CHANCE[sub], _OP[sub], 0), sign * _STRENGTH[sub]
    return np.zeros((len(u), 0), dtype=np.int64), np.zeros((len(u), 0))


def parameters(op: np.ndarray, signed: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kind int32, value float32 and warp float32 [..., 2, 3] for operations and signed strengths of any shape.

    value, by kind: solarize: pixels from it on are inverted; posterize: the mask of the bits kept; brightness, color,
    contrast, sharpness: the factor (1 = unchanged). warp: maps output to input pixels, (x, y, 1) -> (x, y);
    translations are by whole pixels. Ends of the ranges: arXiv:1805.09501, table 6, enhancing factors as 1 +- 0.9 and
    translations, there 150 pixels of 331, as a share of the side; fewer bits and lower thresholds are stronger.
    """
    name, strength = np.array(OPS)[op], np.abs(signed)
    bits = np.rint(8 - 4 * strength).astype(np.int64)
    threshold = np.where(name == "invert", 0, 256 * (1 - strength))
    value = np.select(
        [name == "posterize", _KIND[op] == KINDS.index("solarize")],
        [256 - 2 ** (8 - bits), threshold],
        1 + 0.9 * signed,
    )
    return _KIND[op].astype(np.int32), value.astype(np.float32), _warp(name, signed, size).astype(np.float32)


def _warp(name: np.ndarray, signed: np.ndarray, size: int) -> np.ndarray:
    """Return inverse affine maps [..., 2, 3] in pixel coordinates whose whole numbers are pixel edges."""
    angle = np.where(name == "rotate", np.deg2rad(30) * signed, 0)
    along_x, along_y = (np.where(name == shear, 0.3 * signed, 0) for shear in ("shear_x", "shear_y"))
    shift = [np.where(name == t, np.rint(signed * 150 / 331 * size), 0) for t in ("translate_x", "translate_y")]
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.stack([np.stack([cos, along_x - sin], -1), np.stack([along_y + sin, cos], -1)], -2)
    centre = np.where(name == "rotate", size / 2, 0)[..., None]  # a shear starts at the corner
    offset = centre - (matrix * centre[..., None]).sum(-1) + np.stack(shift, -1)
    return np.concatenate([matrix, offset[..., None]], axis=-1)
