"""Mix a whole batch by mixup or CutMix, before any network sees it: x = lam * x_a + (1 - lam) * x_b.

mixup: arXiv:1710.09412; CutMix: arXiv:1905.04899. The partner of image i of a batch of b is image b - 1 - i.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle

from ssld.interfaces import Batch
from ssld.random import MIX, bits, uniform


def draw_mix(augment: Any, seed: int, number: int, size: int) -> tuple[float, tuple[int, int, int, int] | None]:
    """Return the first image's share, and the box (top, bottom, left, right) that CutMix takes from the partner, or
    None.

    It is a pure function of `seed` and `number`, the micro-batch's place in the run. Where both are on, each batch is
    mixed one way or the other with equal chance.
    """
    place = np.array([number])
    choose, y, x = uniform(seed, MIX, 0, place, 3)[0]
    cut = augment.cutmix > 0 and (augment.mixup <= 0 or choose < 0.5)
    alpha = augment.cutmix if cut else augment.mixup
    lam = float(np.random.Generator(np.random.Philox(key=bits(seed, MIX, 1, place, 2)[0])).beta(alpha, alpha))
    if not cut:
        return lam, None
    half = size * (1 - lam) ** 0.5 / 2  # arXiv:1905.04899, eq. 2: the box has the area share 1 - lam ...
    top, bottom = (int(np.clip(round(y * size + d), 0, size)) for d in (-half, half))
    left, right = (int(np.clip(round(x * size + d), 0, size)) for d in (-half, half))
    return 1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right)  # ... before it is clipped


def mix(batch: Batch, augment: Any, seed: int, number: int) -> Batch:
    """Return the batch with its images mixed, in every view alike, and with `label_b` (int64 [b]) and `lam` (float)
    added.

    Where both mixup and CutMix are off, the batch is returned unchanged.
    """
    if augment.mixup <= 0 and augment.cutmix <= 0:
        return batch
    lam, box = draw_mix(augment, seed, number, batch["image"].shape[-1])
    mixed: Batch = {**batch, "image": _mixed(batch["image"], lam, box)}
    if "views" in batch:
        mixed["views"] = {name: _mixed(images, lam, box) for name, images in batch["views"].items()}
    return {**mixed, "label_b": batch["label"].flip(axis=[0]), "lam": lam}


def _mixed(image: Any, lam: float, box: tuple[int, int, int, int] | None) -> Any:
    partner = image.flip(axis=[0])
    if box is None:
        return lam * image + (1 - lam) * partner
    top, bottom, left, right = box
    inside = np.zeros((1, 1, *image.shape[-2:]), dtype=bool)
    inside[..., top:bottom, left:right] = True
    return paddle.where(paddle.to_tensor(inside), partner, image)
