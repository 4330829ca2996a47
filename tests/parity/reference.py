"""The reference implementation, written down: what its networks hold, how their entries are called, what they answer.

`data/reference.json.gz` and `data/logits.npz` were made by running PaddleClas (branch develop, commit d178931;
ResNet50_ACNet_deploy from the code of 1.x) with weights that follow from the name and the shape of an entry alone
(`weights`, `rescaled`). Of the logits, those of the first image are kept, every fourth of 1,000; of some networks none.
"""

import gzip
import json
import math
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssld import models

DATA = Path(__file__).parent / "data"
EVERY = 4  # of the logits that are kept


@cache
def reference() -> dict[str, dict[str, Any]]:
    """Architecture -> size (pixels of its logits), native (those it was made for), params, macs, rule_b, keys, names.

    `keys`: develop key -> shape. `names`: rows (1.x variable, 2.0 key, develop key, shape); a name that the network
    lacks is None.
    """
    return json.loads(gzip.decompress((DATA / "reference.json.gz").read_bytes()))


@cache
def logits(arch: str) -> dict[tuple[str, int, int], np.ndarray]:
    """(rule, size, number of the output) -> float32 [250]; empty where none are kept."""
    with np.load(DATA / "logits.npz") as file:
        runs = {tuple(key.rsplit(".", 3)): key for key in file.files}
        return {
            (rule, int(size), int(output)): file[key]
            for (name, rule, size, output), key in runs.items()
            if name == arch
        }


def weights(arch: str) -> dict[str, np.ndarray]:
    """Rule A: develop key -> float32 array, drawn."""
    return {key: _drawn(key, shape).astype(np.float32) for key, shape in reference()[arch]["keys"].items()}


def rescaled(arch: str, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rule B: of the arrays of rule A those that change, so that no signal fades on its way."""
    scales = reference()[arch]["rule_b"]
    if scales["kind"] == "gain":
        wide = {key: array for key, array in drawn.items() if key.endswith(".weight") and array.ndim in (2, 4)}
        return {key: array * np.float32(scales["gain"]) for key, array in wide.items()}
    changed = {}
    for key, array in drawn.items():
        if key.endswith(("._mean", "._variance")):
            scale = scales["bn"][key.rpartition(".")[0]]
            factor = scale if key.endswith("_variance") else math.sqrt(scale)
            changed[key] = (array.astype(np.float64) * factor).astype(np.float32)
    return changed


def _drawn(key: str, shape: list[int]) -> np.ndarray:
    """A generator seeded with the CRC of the key, and a distribution for each kind of entry; float64."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))
    if key.endswith("_variance"):
        return rng.uniform(0.5, 1.5, shape)
    if key.endswith(("_mean", ".bias")):
        return rng.standard_normal(shape) * (0.1 if key.endswith("_mean") else 0.05)
    if len(shape) == 1:
        return rng.uniform(0.8, 1.2, shape)
    fan_in = shape[0] if len(shape) == 2 else np.prod(shape[1:])
    return rng.standard_normal(shape) * (math.sqrt(2 / fan_in) * 0.7)


def image(size: int) -> np.ndarray:
    """float32 [1, 3, size, size]: the first of the two images that the reference saw."""
    images = np.random.Generator(np.random.PCG64(20260101)).standard_normal((2, 3, size, size))
    return images[:1].astype(np.float32)


def zoo() -> list[str]:
    """The architectures of the reference, in the order of the registry, which has those of the literature too."""
    return [arch for arch in models.names() if arch in reference()]


def smallest() -> list[str]:
    """Of every series the architecture with the fewest multiply-adds, in the order of the registry."""
    cost = {arch: spec["macs"] for arch, spec in reference().items()}
    first = {models.series(arch): arch for arch in sorted(zoo(), key=lambda arch: -cost[arch])}
    return [arch for arch in zoo() if first[models.series(arch)] == arch]


def one_of_each_series() -> list[Any]:
    """Every architecture as a test parameter; all but the smallest of a series are marked `zoo`."""
    small = smallest()
    return [arch if arch in small else pytest.param(arch, marks=pytest.mark.zoo) for arch in zoo()]
