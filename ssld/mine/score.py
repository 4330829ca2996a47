"""This module scores one shard: it reads the images, compares them with the validation set, and asks the teacher."""

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
from ssld.mine.results import Result, SeenContents, State
from ssld.mine.sources import Item
from ssld.mine.topk import sparse
from ssld.mine.validation import Validation

T = TypeVar("T")
V = TypeVar("V")
Probabilities = Callable[[np.ndarray], np.ndarray]
BATCH = 64  # so many images are decoded ahead; it is the teacher's largest batch too


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """Describe the teacher that scores images.

    ready: returns a function from float32 [n, 3, size, size], prepared as `input` says, to probabilities [n, classes];
    it is called when there is something to score. facts: which teacher it is, with the digest of its weights; they are
    part of the digest of a mining.
    """

    classes: int
    input: Input
    ready: Callable[[], Probabilities]
    facts: dict[str, Any]
    names: list[str] = field(default_factory=list)  # the names of the classes, for the sheet


def score(
    items: list[Item],
    teacher_input: Input,
    probabilities: Probabilities,
    validation: Validation,
    pool: Executor,
    progress: Callable[[int], None] = lambda images: None,
) -> Result:
    """Return what becomes of the images of one shard; `teacher_input` is the input of the teacher behind
    `probabilities`.

    An image whose content has come before in this shard is not looked at again. Copies in other shards are left to
    `select.final`, so that a result depends on nothing but its shard. progress: it is called with the number of images
    that are finished. Raises RunError when the teacher returns something that is no finite number.
    """
    state = np.zeros(len(items), dtype=np.uint8)
    digest = np.zeros((len(items), DIGEST), dtype=np.uint8)
    result = Result(items=items, state=state, digest=digest, image=_empty("i4"), label=_empty("i4"), score=_empty("f4"))
    contents = SeenContents()
    rows, looked, finished = [], 0, 0
    for batch in _ahead(pool, partial(_try_look, teacher_input=teacher_input), items):
        readable = _take_in(result, batch, finished, contents)
        near = validation.near([picture for _, picture in readable], pool) if readable else []
        looked += sum(count for _, count in near)
        clear = []
        for (image, picture), (duplicate, _) in zip(readable, near, strict=True):
            if duplicate:
                state[image] = State.NEAR
                result.near[image] = [duplicate.image, duplicate.inliers, duplicate.correlation]
            else:
                clear.append((image, picture))
        if clear:
            rows.append(_ask(probabilities, clear, items))
        finished += len(batch)
        progress(finished)
    if not rows:
        return replace(result, looked=looked)
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    return replace(result, image=columns[0], label=columns[1], score=columns[2], looked=looked)


def _take_in(
    result: Result, batch: list[Picture | str], start: int, contents: SeenContents
) -> list[tuple[int, Picture]]:
    """Record digests, faults and copies of a batch; return the images that are left."""
    for image, picture in enumerate(batch, start=start):
        if isinstance(picture, str):
            result.state[image] = State.UNREADABLE
            result.reasons[image] = picture
        else:
            result.digest[image] = np.frombuffer(picture.digest, dtype=np.uint8)
    readable = [(image, picture) for image, picture in enumerate(batch, start=start) if isinstance(picture, Picture)]
    fresh = contents.first(result.digest[[image for image, _ in readable]]) if readable else ()
    for (image, _), new in zip(readable, fresh, strict=True):
        result.state[image] = State.SCORED if new else State.COPY
    return [pair for pair, new in zip(readable, fresh, strict=True) if new]


def _ask(
    probabilities: Probabilities, pictures: list[tuple[int, Picture]], items: list[Item]
) -> tuple[np.ndarray, ...]:
    """Ask the teacher for the scores of some pictures, and return what is recorded of them."""
    images = np.array([image for image, _ in pictures], dtype=np.int32)
    scores_of_classes = probabilities(np.stack([picture.crop for _, picture in pictures if picture.crop is not None]))
    if not np.isfinite(scores_of_classes).all():
        name = items[images[int(np.isfinite(scores_of_classes).all(1).argmin())]].name
        raise RunError(f"{name}: the teacher gives a score that is not a number; check its weights")
    image, label, scores = sparse(scores_of_classes)
    return images[image], label, scores


def _try_look(item: Item, teacher_input: Input) -> Picture | str:
    """Read an image; return the reason where that fails."""
    try:
        return look(item, teacher_input, teacher_input.background)
    except Unreadable as error:
        return str(error)


def _ahead(pool: Executor, function: Callable[[V], T], values: list[V]) -> Iterator[list[T]]:
    """Yield the results for the values, BATCH at a time, while the pool works on the next batch."""
    waiting: list[Future[T]] = []
    for start in range(0, len(values) + BATCH, BATCH):
        coming = [pool.submit(function, value) for value in values[start : start + BATCH]]
        if waiting:
            yield [future.result() for future in waiting]
        waiting = coming


def _empty(kind: str) -> np.ndarray:
    """Return an empty array."""
    return np.empty(0, dtype=kind)
