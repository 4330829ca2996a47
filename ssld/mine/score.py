"""One shard: read, compare with the validation set, ask the teacher."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from ssld.config.cards import Input
from ssld.data.readable import Unreadable
from ssld.errors import RunError
from ssld.mine.picture import DIGEST, Picture, look
from ssld.mine.results import Result, Seen, State
from ssld.mine.sources import Item
from ssld.mine.topk import sparse
from ssld.mine.validation import Validation

T = TypeVar("T")
Probabilities = Callable[[np.ndarray], np.ndarray]
BATCH = 64  # images that are decoded ahead, and the largest batch of the teacher


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What scores images: `ready()` gives a function from float32 [n, 3, size, size], prepared as `input` says, to
    probabilities [n, classes]; it is called when there is something to score.

    `facts` say which teacher it is, with the digest of its weights: they are part of the digest of a mining.
    """

    classes: int
    input: Input
    ready: Callable[[], Probabilities]
    facts: dict[str, Any]
    names: list[str] = field(default_factory=list)  # of the classes, for the sheet


def score(
    items: list[Item],
    given: Input,
    probabilities: Probabilities,
    validation: Validation,
    pool: Executor,
    progress: Callable[[int], None] = lambda images: None,
) -> Result:
    """What becomes of the images of one shard; `given` is the input of the teacher whose `probabilities` are asked.

    An image whose content has come before in this shard is not looked at again; copies in other shards are left to
    `select.final`, so that a result depends on nothing but its shard. `progress` is told the number of images that are
    done. RunError: the teacher gives something else than numbers.
    """
    state = np.zeros(len(items), dtype=np.uint8)
    digest = np.zeros((len(items), DIGEST), dtype=np.uint8)
    result = Result(items=items, state=state, digest=digest, image=_empty("i4"), label=_empty("i4"), score=_empty("f4"))
    seen = Seen()
    rows, looked, done = [], 0, 0
    for batch in _ahead(pool, partial(_try_look, given=given), items):
        readable = _take_in(result, batch, done, seen)
        near = validation.near([picture.grey for _, picture in readable], pool) if readable else []
        looked += sum(count for _, count in near)
        clear = []
        for (image, picture), (found, _) in zip(readable, near, strict=True):
            if found:
                state[image] = State.NEAR
                result.near[image] = [found.image, found.inliers, found.correlation]
            else:
                clear.append((image, picture))
        if clear:
            rows.append(_ask(probabilities, clear, items))
        done += len(batch)
        progress(done)
    if not rows:
        return replace(result, looked=looked)
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return replace(result, image=columns[0], label=columns[1], score=columns[2], looked=looked)


def _take_in(result: Result, batch: list[Picture | str], start: int, seen: Seen) -> list[tuple[int, Picture]]:
    """Record digests, faults and copies of a batch; returns the images that are left."""
    for image, picture in enumerate(batch, start=start):
        if isinstance(picture, str):
            result.state[image] = State.UNREADABLE
            result.reasons[image] = picture
        else:
            result.digest[image] = np.frombuffer(picture.digest, dtype=np.uint8)
    read = [(image, picture) for image, picture in enumerate(batch, start=start) if isinstance(picture, Picture)]
    fresh = seen.first(result.digest[[image for image, _ in read]]) if read else ()
    for (image, _), new in zip(read, fresh, strict=True):
        result.state[image] = State.SCORED if new else State.COPY
    return [pair for pair, new in zip(read, fresh, strict=True) if new]


def _ask(
    probabilities: Probabilities, pictures: list[tuple[int, Picture]], items: list[Item]
) -> tuple[np.ndarray, ...]:
    images = np.array([image for image, _ in pictures], dtype=np.int32)
    found = probabilities(np.stack([picture.crop for _, picture in pictures if picture.crop is not None]))
    if not np.isfinite(found).all():
        name = items[images[int(np.isfinite(found).all(1).argmin())]].name
        raise RunError(f"{name}: the teacher gives a score that is not a number; check its weights")
    image, label, scores = sparse(found)
    return images[image], label, scores


def _try_look(item: Item, given: Input) -> Picture | str:
    try:
        return look(item, given, given.background)
    except Unreadable as error:
        return str(error)


def _ahead(pool: Executor, function: Callable[[Any], T], values: list[Any]) -> Iterator[list[T]]:
    """The results for the values, BATCH at a time; the pool works on the next batch meanwhile."""
    waiting: list[Future[T]] = []
    for start in range(0, len(values) + BATCH, BATCH):
        coming = [pool.submit(function, value) for value in values[start : start + BATCH]]
        if waiting:
            yield [future.result() for future in waiting]
        waiting = coming


def _empty(kind: str) -> np.ndarray:
    return np.empty(0, dtype=kind)
