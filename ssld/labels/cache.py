"""A cache of a teacher's logits on fixed random views of the training images: made once, shared by students and seeds.

    <folder>/manifest.json                   what the labels depend on; a run that differs in any of it is refused
    <folder>/view-003/shard-00012.labels     records, see `record` and `shard`

A view needs no random state on disk: its crop, flip, colours, erasing and mixing partner are a pure function of the
manifest's seed, the number of the view and the place of the image (`data/augment.py`).
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from scipy.special import softmax

from ssld.data.sampler import evenly
from ssld.errors import DataError
from ssld.files import write_whole
from ssld.interfaces import Batch, Outputs
from ssld.labels import shard
from ssld.labels.record import Layout
from ssld.progress import note, progress
from ssld.runtime import Runtime, barrier

MANIFEST = "manifest.json"
APART = 1e-3  # of two softmax values: float16 rounds the probability of a class by less

Say = Callable[[int, list[int]], Iterator[np.ndarray]]
"""(view, numbers of micro-batches) -> the teacher's float32 logits [n, classes] of each, in this order."""


@dataclass(frozen=True)
class Cache:
    """`places` records for each of `views` views, in micro-batches of `micro` places (the last may be smaller)."""

    folder: Path
    layout: Layout
    views: int
    places: int
    micro: int
    held: dict[int, np.ndarray] = field(default_factory=dict, compare=False)  # the view that was read last

    def file(self, view: int, number: int) -> Path:
        return self.folder / f"view-{view:03d}" / f"shard-{number:05d}.labels"

    def count(self, number: int) -> int:
        """Records of a shard."""
        return min(shard.RECORDS, self.places - number * shard.RECORDS)

    def shards(self) -> list[tuple[int, int]]:
        """(view, number) of every shard."""
        return [(view, n) for view in range(self.views) for n in range(-(-self.places // shard.RECORDS))]

    def logits(self, view: int, places: np.ndarray) -> np.ndarray:
        """float32 [n, classes] of these places of a view. Raises DataError for a file that is missing or damaged."""
        if view not in self.held:
            self.held.clear()
            numbers = [n for v, n in self.shards() if v == view]
            whole = [shard.whole(self.file(view, n), self.layout.size, self.count(n)) for n in numbers]
            self.held[view] = np.concatenate(whole)
        return self.layout.decode(self.held[view][places])


class CachedLogits:
    """The labels of a distillation from a cache, in the place of a teacher."""

    engine = "cache"
    gives = frozenset({"logits"})

    def __init__(self, cache: Cache):
        self.cache = cache

    def shapes(self, names: Collection[str], size: int) -> dict[str, tuple[int, ...]]:
        """The shape of the logits, without the batch."""
        return {name: (self.cache.layout.classes,) for name in names}

    def shapes_of_each(self, names: Collection[str], size: int) -> dict[str, dict[str, tuple[int, ...]]]:
        """A cache keeps what several teachers say together."""
        return {}

    def labelled(
        self, batches: Iterable[Batch], precision: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> Iterator[Batch]:
        """Each batch of a loader of views with the logits of its images under `teacher`, float32 as they were kept."""
        for batch in batches:
            logits = paddle.to_tensor(self.cache.logits(batch["view"], batch["place"]))
            yield {**batch, "teacher": Outputs({"logits": logits})}


def claim(folder: Path, manifest: dict[str, Any], here: Runtime) -> None:
    """Make the folder a cache of this manifest, or see that it is; DataError, naming what differs, if it is not."""
    file = folder / MANIFEST
    if here.main and not file.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise DataError(f"{folder}: is not empty and holds no label cache; choose another labels.folder")
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(manifest, indent=1) + "\n")
    barrier(here)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); remove the folder, its labels are made anew") from None
    for key, wanted, there in differences(manifest, found):
        raise DataError(
            f"{folder}: its labels were made with {key} {_short(there)}, this run has {_short(wanted)}; choose another "
            "labels.folder"
        )


def differences(wanted: Any, found: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, wanted, found) of each leaf in which two JSON trees differ; a leaf that is missing is None."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in [*wanted, *(name for name in found if name not in wanted)]:
            yield from differences(wanted.get(name), found.get(name), f"{key}.{name}" if key else name)
    elif json.loads(json.dumps(wanted)) != found:
        yield key, wanted, found


def missing(cache: Cache, rank: int = 0, world: int = 1) -> list[tuple[int, int, list[int]]]:
    """(view, shard, blocks) that are not there or damaged, of this rank's shards; damaged files are named."""
    found = []
    for view, number in cache.shards()[rank::world]:
        file, count = cache.file(view, number), cache.count(number)
        _, blocks = shard.read(file, cache.layout.size, count)
        if blocks and file.exists():
            note(f"{file}: {len(blocks)} of {-(-count // shard.BLOCK)} blocks are damaged; they are made anew")
        if blocks:
            found.append((view, number, blocks))
    return found


def fill(cache: Cache, say: Callable[[], Say], here: Runtime) -> None:
    """Make what is missing. `say()` is called for the teacher only if anything is.

    A shard is written when it is whole, so that a killed process makes at most one anew for each rank.
    """
    wanted = missing(cache, here.rank, here.world)
    if wanted:
        note(f"labels go to {cache.folder}")
        ask, done = say(), 0
        total = sum(_places(cache, number, blocks).sum() for _, number, blocks in wanted)
        with progress(int(total), "labels", quiet=not here.main) as bar:
            for view, number, blocks in wanted:
                make(cache, ask, view, number, blocks)
                done += int(_places(cache, number, blocks).sum())
                bar.update(done)
    barrier(here)


def make(cache: Cache, ask: Say, view: int, number: int, blocks: list[int]) -> None:
    """Ask the teacher for the micro-batches that reach into these blocks of a shard, and write the shard."""
    file, count = cache.file(view, number), cache.count(number)
    records, _ = shard.read(file, cache.layout.size, count)
    first, wanted = number * shard.RECORDS, _places(cache, number, blocks)
    places = first + np.flatnonzero(wanted)
    numbers = np.unique(places // cache.micro).tolist()
    for micro, logits in zip(numbers, ask(view, numbers), strict=True):
        inside = micro * cache.micro + np.arange(len(logits)) - first  # places in the shard; some lie outside it
        take = (inside >= 0) & (inside < count)
        take[take] = wanted[inside[take]]
        records[inside[take]] = cache.layout.encode(logits[take])
    file.parent.mkdir(exist_ok=True)
    shard.write(file, records)


def verify(cache: Cache, ask: Say, number: int) -> float:
    """Ask the teacher again for some `number` of places, evenly over the views; DataError when a label is another one.

    Whole micro-batches are asked for. Returns the largest difference of two softmax values, of the labels as kept.
    """
    each = -(-number // (cache.views * cache.micro))
    batches = -(-cache.places // cache.micro)
    largest = 0.0
    for view in range(cache.views):
        numbers = evenly(each, batches).tolist()
        for micro, logits in zip(numbers, ask(view, numbers), strict=True):
            places = micro * cache.micro + np.arange(len(logits))
            again = cache.layout.decode(cache.layout.encode(logits))
            apart = np.abs(softmax(again, axis=1) - softmax(cache.logits(view, places), axis=1)).max(axis=1)
            largest = max(largest, float(apart.max()))
            if largest > APART:
                raise DataError(
                    f"{cache.folder}: view {view}, place {places[apart.argmax()]}: the teacher says something else now "
                    f"(softmax differs by {largest:.2g}); remove the folder, its labels are made anew"
                )
    return largest


def _places(cache: Cache, number: int, blocks: list[int]) -> np.ndarray:
    """bool [records of the shard]: whether a record lies in one of the blocks."""
    return np.isin(np.arange(cache.count(number)) // shard.BLOCK, blocks)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return f"{text[:12]}..." if len(text) > 60 else text
