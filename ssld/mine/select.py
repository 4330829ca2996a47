"""This module chooses images from the results of all shards, for a list file that a recipe can name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from ssld.errors import RunError
from ssld.files import whole
from ssld.mine.picture import DIGEST
from ssld.mine.results import Result, SeenContents, State, keys, load
from ssld.mine.sources import Item
from ssld.mine.topk import Rows, TopK, serving
from ssld.spec.choices import Assign

BINS = 20  # the number of bins of the histogram of scores
IMAGES = "images"  # the folder of the images that came out of tars


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is chosen: of each class the `k` images of highest score, among those with at least `min_score`.

    assign: whether an image may serve its likeliest class only (`best`), or every class that gives it `min_score`
    (`all`).
    """

    k: int
    min_score: float = 0.0
    assign: Assign = "best"


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    rows: by class, best first; `place` is shard << 32 | image. counts: the number of images by what became of them.
    scores: int64 [2, BINS], how many images have their best score in each bin, of all that were scored and of those
    chosen.
    """

    rows: Rows
    counts: dict[str, int]
    scores: np.ndarray


def choose(
    files: Sequence[Path], classes: int, options: Options, progress: Callable[[int], None] = lambda shards: None
) -> Choice:
    """Choose in one pass over the results of the shards, in order. Raises RunError for a damaged result.

    Of equal contents the one of the earliest shard stays, whichever shard was scored first. It takes memory for classes
    x k rows, and 8 bytes an image for the contents.
    """
    top, contents = TopK(classes, options.k), SeenContents()
    names = ("images", "unreadable", "copies", "near_duplicates", "scored", "below_min_score", "candidates_looked_at")
    counts = dict.fromkeys(names, 0)
    scores = np.zeros((2, BINS), dtype=np.int64)
    for number, file in enumerate(files):
        result = load(file)
        state = final(result, contents)
        valid = np.flatnonzero(state[result.image] == State.SCORED)
        image, score = result.image[valid], result.score[valid]
        serves = serving(image, score, options.assign, options.min_score)
        rows_of_shard = valid[serves]
        place = (np.int64(number) << 32) + result.image[rows_of_shard]
        key = keys(result.digest[result.image[rows_of_shard]])
        top.add(Rows(result.label[rows_of_shard], result.score[rows_of_shard], key, place))
        scores[0] += _histogram(score[serving(image, score, "best", 0.0)])
        scored = int((state == State.SCORED).sum())
        totals = (len(state), *(int((state == kind).sum()) for kind in (State.UNREADABLE, State.COPY, State.NEAR)))
        below = scored - len(np.unique(image[serves]))
        for name, count in zip(names, (*totals, scored, below, result.looked), strict=True):
            counts[name] += count
        progress(number + 1)
    rows = top.rows()
    best = _best_of(rows)
    scores[1] = _histogram(best)
    counts["not_among_the_k_best"] = counts["scored"] - counts["below_min_score"] - len(best)
    counts["selected"] = len(best)
    counts["classes_short_of_k"] = int((np.bincount(rows.label, minlength=classes) < options.k).sum())
    return Choice(rows, counts, scores)


def final(result: Result, contents: SeenContents) -> np.ndarray:
    """Return the state of a shard's images when all shards before it are known, uint8 [n].

    `contents` holds the contents of those shards, and takes in those of this one.
    """
    state = result.state.copy()
    readable = np.flatnonzero(state != State.UNREADABLE)
    state[readable[~contents.first(result.digest[readable])]] = State.COPY
    return state


def _best_of(rows: Rows) -> np.ndarray:
    """Return the highest score of every image among the rows."""
    order = np.lexsort((-rows.score, rows.place))
    _, first = np.unique(rows.place[order], return_index=True)
    return rows.score[order][first]


def _histogram(scores: np.ndarray) -> np.ndarray:
    """Count scores in bins from 0 to 1."""
    return np.histogram(scores, bins=BINS, range=(0.0, 1.0))[0]


def items(files: Sequence[Path], places: np.ndarray) -> Iterator[tuple[int, Item, bytes]]:
    """Yield (position in `places`, item, digest) of images by their places, in the order of the shards."""
    order = np.argsort(places, kind="stable")
    number, result = -1, None
    for position in order.tolist():
        shard, image = divmod(int(places[position]), 1 << 32)
        if shard != number or result is None:
            number, result = shard, load(files[shard])
        yield position, result.items[image], result.digest[image].tobytes()


def paths(
    files: Sequence[Path], places: np.ndarray, out: Path, progress: Callable[[int], None] = lambda images: None
) -> list[str]:
    """Return a path for each place, as it stands in a list in `out`.

    Images that are files stay where they are and have absolute paths; those of tars are written to `out`/images, named
    by their content. Raises RunError for a tar that has changed since it was scored.
    """
    result = [""] * len(places)
    for count, (position, item, digest) in enumerate(items(files, places), start=1):
        result[position] = item.file if item.size < 0 else _extract(item, digest, out)
        progress(count)
    return result


def _extract(item: Item, digest: bytes, out: Path) -> str:
    """Write an image of a tar as a file and return its name."""
    name = f"{IMAGES}/{digest.hex()[:2]}/{digest.hex()}{os.path.splitext(item.name)[1].lower()}"
    file = out / name
    if not file.exists():
        data = item.read()
        if sha256(data).digest()[:DIGEST] != digest:
            raise RunError(f"{item.name}: has changed since it was scored; give an empty --out to score the pool again")
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole(file, one_of_many=True) as partial:
            partial.write_bytes(data)
    return name
