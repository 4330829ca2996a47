"""This module keeps what is known of one shard after it was scored, in a file that is never computed again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from ssld.files import damaged, read_arrays, whole
from ssld.mine.picture import DIGEST
from ssld.mine.sources import Item


class State(IntEnum):
    """Say what became of an image while its shard was scored."""

    SCORED = 0
    UNREADABLE = 1
    COPY = 2  # the bytes of an earlier image of this shard
    NEAR = 3  # a near-duplicate of a validation image


@dataclass(frozen=True, kw_only=True)
class Result:
    """Hold the result of a shard of n images, in the order of its items.

    state: uint8 [n]. digest: uint8 [n, DIGEST] (zeros where nothing could be read). reasons: {image: why it is not
    read}. near: {image: [validation image, inliers, correlation]}. image int32, label int32, score float32 [m]: see
    `topk.sparse`. looked: the number of candidates of the validation set that SIFT compared.
    """

    items: list[Item]
    state: np.ndarray
    digest: np.ndarray
    reasons: dict[int, str] = field(default_factory=dict)
    near: dict[int, list[float]] = field(default_factory=dict)
    image: np.ndarray
    label: np.ndarray
    score: np.ndarray
    looked: int = 0


SHRINK = 8
ARRAYS = ("state", "digest", "image", "label", "score")


def save(result: Result, file: Path) -> None:
    """Write a result, whole or not at all. Raises OSError when the disk does not take it."""
    rest = {
        "name": _name(file),
        "items": [[getattr(item, part.name) for part in fields(Item)] for item in result.items],
        "reasons": result.reasons,
        "near": result.near,
        "looked": result.looked,
    }
    arrays: dict[str, Any] = {name: getattr(result, name) for name in ARRAYS}
    with whole(file) as partial, open(partial, "wb") as stream:
        np.savez_compressed(stream, rest=np.frombuffer(json.dumps(rest).encode(), dtype=np.uint8), **arrays)


def _name(file: Path) -> str:
    """Return the digests of what was scored and of how, which the path of a result ends with."""
    return f"{file.parent.name}/{file.stem}"


def load(file: Path) -> Result:
    """Read a result. Raises RunError when the file was damaged since it was written, or is that of another shard."""
    advice = "remove it, and the same command scores this shard again"
    content = read_arrays(file, advice)
    try:
        arrays = {name: content[name] for name in ARRAYS}
        rest = json.loads(content["rest"].tobytes())
        count = len(rest["items"])
        if arrays["state"].shape != (count,) or arrays["digest"].shape != (count, DIGEST):
            raise ValueError("its parts do not fit together")
        if rest.get("name", _name(file)) != _name(file):  # early versions wrote none
            raise ValueError("it is of another shard")
        items = [Item(*item) for item in rest["items"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(file, error, advice) from None
    reasons, near = ({int(key): value for key, value in rest[name].items()} for name in ("reasons", "near"))
    return Result(items=items, reasons=reasons, near=near, looked=rest["looked"], **arrays)


def keys(digest: np.ndarray) -> np.ndarray:
    """Return digests uint8 [n, 16] as numbers that sort alike: uint64 [n, 2]."""
    return np.ascontiguousarray(digest).view(">u8").astype(np.uint64)


class SeenContents:
    """Hold the contents that came so far: 8 bytes an image, in sorted blocks, each SHRINK times as large as the next.

    Contents are told apart by 64 bits of their sha256: among 14 million images the chance that any two different ones
    are taken for copies is 1 in 190,000.
    """

    def __init__(self) -> None:
        self._blocks: list[np.ndarray] = []

    def first(self, digest: np.ndarray) -> np.ndarray:
        """Return whether each content uint8 [n, DIGEST] comes for the first time, bool [n].

        The contents are remembered.
        """
        sort_keys = keys(digest)[:, 0]
        unique, where = np.unique(sort_keys, return_index=True)
        new = np.ones(len(unique), dtype=bool)
        for block in self._blocks:
            place = np.minimum(np.searchsorted(block, unique), len(block) - 1)
            new &= block[place] != unique
        self._keep(unique[new])
        first = np.zeros(len(sort_keys), dtype=bool)
        first[where[new]] = True
        return first

    def _keep(self, fresh: np.ndarray) -> None:
        """Add a sorted block, and merge it with blocks that are too small beside it."""
        while self._blocks and len(self._blocks[-1]) <= SHRINK * len(fresh):
            # These are two sorted runs, so this is a merge.
            fresh = np.sort(np.concatenate([self._blocks.pop(), fresh]), kind="stable")
        if len(fresh):
            self._blocks.append(fresh)
