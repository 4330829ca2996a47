"""This module caches a teacher's logits on fixed random views of the training images, for several students and seeds.

    <folder>/manifest.json                   what the labels depend on; a run that differs in any of it is refused
    <folder>/view-003/shard-00012.labels     records, see `record` and `shard`

A view needs no random state on disk: its crop, flip, colours, erasing and mixing partner are a pure function of the
manifest's seed, the number of the view and the place of the image (`data/augment.py`).
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from scipy.special import softmax

from ssld.data.sampler import evenly
from ssld.errors import DataError
from ssld.files import PARTIAL, alone, clear, differences, json_digest, obstacle, read_json, short, write_json
from ssld.interfaces import Batch, Outputs
from ssld.labels import shard
from ssld.labels.record import Layout
from ssld.progress import note, progress
from ssld.runtime import Runtime, barrier

MANIFEST = "manifest.json"
ANEW = "remove the folder, its labels are made anew"
APART = 1e-3  # the allowed difference of two softmax values: float16 rounds the probability of a class by less

Say = Callable[[int, list[int]], Iterator[np.ndarray]]
"""A function that takes (view, numbers of micro-batches).

It yields the teacher's float32 logits [n, classes] of each micro-batch, in this order.
"""


@dataclass(frozen=True)
class Cache:
    """Describe a cache of `places` records for each of `views` views.

    It is filled in micro-batches of `micro` places (the last may be smaller).
    """

    folder: Path
    layout: Layout
    views: int
    places: int
    micro: int
    manifest: dict[str, Any] | None = None  # what its labels depend on, checked before a shard is written
    # The records of the view that was read last.
    view_cache: dict[int, np.ndarray] = field(default_factory=dict, compare=False)

    @cached_property
    def identity(self) -> str:
        """Return the digest of the manifest: shards of another cache are none of this one."""
        return json_digest(self.manifest)

    def file(self, view: int, number: int) -> Path:
        """Return the file of a shard."""
        return self.folder / f"view-{view:03d}" / f"shard-{number:05d}.labels"

    def name(self, view: int, number: int) -> str:
        """Return the name of the records of a shard."""
        return f"{self.identity} view {view} shard {number}"

    def count(self, number: int) -> int:
        """Return the number of records of a shard."""
        return min(shard.RECORDS, self.places - number * shard.RECORDS)

    def shards(self) -> list[tuple[int, int]]:
        """Return (view, number) of every shard."""
        return [(view, n) for view in range(self.views) for n in range(-(-self.places // shard.RECORDS))]

    def logits(self, view: int, places: np.ndarray) -> np.ndarray:
        """Return float32 [n, classes] of these places of a view.

        Raises DataError for a file that is missing or damaged.
        """
        if view not in self.view_cache:
            self.view_cache.clear()
            numbers = [n for v, n in self.shards() if v == view]
            size = self.layout.size
            parts = [shard.read_whole(self.file(view, n), size, self.count(n), self.name(view, n)) for n in numbers]
            self.view_cache[view] = np.concatenate(parts)
        return self.layout.decode(self.view_cache[view][places])


class CachedLogits:
    """It labels the batches of a distillation from a cache, in place of a teacher."""

    engine = "cache"
    gives = frozenset({"logits"})

    def __init__(self, cache: Cache):
        self.cache = cache

    def shapes(self, names: Collection[str], size: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of the logits, without the batch."""
        return {name: (self.cache.layout.classes,) for name in names}

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return no shapes, because a cache keeps what several teachers say together."""
        return {}

    def read(self, names: Collection[str]) -> None:
        """Keep to the logits, which are all that a cache holds."""

    def labelled(
        self, batches: Iterable[Batch], precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> Iterator[Batch]:
        """Yield each batch of a loader of views with the logits of its images under `teacher`.

        The logits are float32, as they were kept.
        """
        for batch in batches:
            logits = paddle.to_tensor(self.cache.logits(batch["view"], batch["place"]))
            yield {**batch, "teacher": Outputs({"logits": logits})}


def claim(folder: Path, manifest: dict[str, Any], runtime: Runtime) -> None:
    """Make the folder a cache of this manifest, or check that it is one. Raises DataError, which names what differs.

    A folder that another manifest has claimed and that holds no label yet becomes this one's. Where it holds labels, a
    manifest that is damaged or missing is written anew if every shard says which cache it belongs to: `missing` then
    finds those of other caches. Raises OSError where the disk does not take it.
    """
    file = folder / MANIFEST
    if runtime.main:
        _check_folder(file)
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            for place in (folder, *folder.glob("view-*")):
                clear(place)
            if any(folder.glob("view-*/*.labels")):
                _restore_manifest(file, manifest)
            elif not obstacle(file):
                write_json(file, manifest)
    barrier(runtime)
    check(folder, manifest)


def check(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise DataError, which names what differs, unless the folder is the cache of this manifest."""
    content = read_json(folder / MANIFEST, ANEW, DataError)
    for key, new_value, old_value in differences(manifest, content):
        raise DataError(
            f"{folder}: its labels were made with {key} {short(old_value)}, this run has {short(new_value)}; "
            "choose another labels.folder"
        )


def _check_folder(file: Path) -> None:
    """Raise DataError where the folder of a manifest is there and is none of a cache."""
    folder = file.parent
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: is no folder; choose another labels.folder")
    others = [path for path in folder.iterdir() if not (re.match(r"view-\d+$", path.name) or PARTIAL.search(path.name))]
    if others and not os.path.lexists(file):
        raise DataError(f"{folder}: is not empty and holds no label cache; choose another labels.folder")


def _restore_manifest(file: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest anew where it is damaged or missing and every shard says which cache it is of."""
    try:
        read_json(file, "", DataError)
    except DataError as error:
        shards = file.parent.glob("view-*/shard-*.labels")
        if not obstacle(file) and all(map(shard.says_its_name, shards)):
            note(f"{error}; it is written anew, and the labels that do not belong to it are made anew")
            write_json(file, manifest)


def missing(cache: Cache, rank: int = 0, world: int = 1) -> list[tuple[int, int, list[int]]]:
    """Return (view, shard, blocks) of what is missing or damaged, of this rank's shards.

    Damaged files are named in a note.
    """
    result = []
    for view, number in cache.shards()[rank::world]:
        file, count = cache.file(view, number), cache.count(number)
        _, blocks = shard.read(file, cache.layout.size, count, cache.name(view, number))
        if what := obstacle(file):
            raise DataError(f"{file}: {what}; remove it, and the same command makes its labels anew")
        if blocks and file.exists():
            note(f"{file}: {len(blocks)} of {-(-count // shard.BLOCK)} blocks are damaged; they are made anew")
        if blocks:
            result.append((view, number, blocks))
    return result


def fill(cache: Cache, make_teacher: Callable[[], Say], runtime: Runtime) -> None:
    """Make what is missing. `make_teacher()` is called for the teacher only where something is missing.

    A shard is written when it is whole, so a killed process has to make at most one for each rank again.
    """
    missing_shards = missing(cache, runtime.rank, runtime.world)
    if missing_shards:
        note(f"labels go to {cache.folder}")
        logits_of, count = make_teacher(), 0
        total = sum(_places(cache, number, blocks).sum() for _, number, blocks in missing_shards)
        with progress(int(total), "labels", quiet=not runtime.main) as bar:
            for view, number, blocks in missing_shards:
                make(cache, logits_of, view, number, blocks)
                count += int(_places(cache, number, blocks).sum())
                bar.update(count)
    barrier(runtime)


def make(cache: Cache, logits_of: Say, view: int, number: int, blocks: list[int]) -> None:
    """Ask the teacher for the micro-batches that reach into these blocks of a shard, and write the shard."""
    file, count = cache.file(view, number), cache.count(number)
    records, _ = shard.read(file, cache.layout.size, count, cache.name(view, number))
    first, mask = number * shard.RECORDS, _places(cache, number, blocks)
    places = first + np.flatnonzero(mask)
    numbers = np.unique(places // cache.micro).tolist()
    for micro, logits in zip(numbers, logits_of(view, numbers), strict=True):
        # These are places in the shard; some lie outside it.
        shard_places = micro * cache.micro + np.arange(len(logits)) - first
        selected = (shard_places >= 0) & (shard_places < count)
        selected[selected] = mask[shard_places[selected]]
        records[shard_places[selected]] = cache.layout.encode(logits[selected])
    with alone(cache.folder):
        if cache.manifest is not None:
            check(cache.folder, cache.manifest)  # nobody has claimed the empty cache meanwhile
        file.parent.mkdir(exist_ok=True)
        shard.write(file, records, cache.name(view, number))


def verify(cache: Cache, logits_of: Say, number: int) -> float:
    """Ask the teacher again for about `number` places, evenly over the views, and compare.

    Whole micro-batches are asked for. Returns the largest difference of two softmax values, of the labels as they are
    kept. Raises DataError when a label is another one.
    """
    batches_per_view = -(-number // (cache.views * cache.micro))
    batches = -(-cache.places // cache.micro)
    largest = 0.0
    for view in range(cache.views):
        numbers = evenly(batches_per_view, batches).tolist()
        for micro, logits in zip(numbers, logits_of(view, numbers), strict=True):
            places = micro * cache.micro + np.arange(len(logits))
            again = cache.layout.decode(cache.layout.encode(logits))
            distances = np.abs(softmax(again, axis=1) - softmax(cache.logits(view, places), axis=1)).max(axis=1)
            largest = max(largest, float(distances.max()))
            if largest > APART:
                raise DataError(
                    f"{cache.folder}: view {view}, place {places[distances.argmax()]}: "
                    f"the teacher says something else now (softmax differs by {largest:.2g}); {ANEW}"
                )
    return largest


def _places(cache: Cache, number: int, blocks: list[int]) -> np.ndarray:
    """Return for each record of the shard whether it lies in one of the blocks, bool [records]."""
    return np.isin(np.arange(cache.count(number)) // shard.BLOCK, blocks)
