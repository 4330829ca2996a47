"""This module keeps the k best images of every class, from rows of scores in any order, in one pass.

It takes memory for classes x k rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssld.config.mine_step import LEAST_FOR_ALL
from ssld.spec.choices import Assign

FLOOR = LEAST_FOR_ALL  # lower ones are recorded only of an image's best class: at most 1 / FLOOR rows an image
SPARE = 1 << 20  # at least so many rows are taken in before the worst are thrown out


@dataclass(frozen=True)
class Rows:
    """Hold n scores of images for classes.

    label: int32 [n]. score: float32 [n]. key: uint64 [n, 2], from the image's content. place: int64 [n], where the
    image is.
    """

    label: np.ndarray
    score: np.ndarray
    key: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def take(self, index: np.ndarray) -> Rows:
        """Return the rows at some positions."""
        return Rows(self.label[index], self.score[index], self.key[index], self.place[index])


class TopK:
    """Keep the k rows of highest score of each class, of equal scores those of the smaller key.

    The result depends on the set of rows alone: not on their order, on how they were split into calls of `add`, or on
    which of several TopK took them before `merge`. A row that comes twice counts once.
    """

    def __init__(self, classes: int, k: int):
        self.classes, self.k = classes, k
        self._parts: list[Rows] = []
        self._waiting, self._room = 0, max(SPARE, classes * k // 2)
        self._least = np.full(classes, -np.inf, dtype=np.float32)  # a lower score is not among the k best

    def add(self, rows: Rows) -> None:
        """Take in those rows that may be among the k best. Labels are below `classes`, scores are finite."""
        rows = rows.take(np.flatnonzero(rows.score >= self._least[rows.label]))
        self._parts.append(rows)
        self._waiting += len(rows)
        if self._waiting >= self._room:
            self._compact()

    def merge(self, other: TopK) -> None:
        """Take in what another TopK kept, of other shards or another rank."""
        self.add(other.rows())

    def rows(self) -> Rows:
        """Return what was kept: by class, the best first."""
        self._compact()
        return self._parts[0]

    def _compact(self) -> None:
        """Throw out all but the k best rows of each class."""
        parts, self._parts = self._parts or [_none()], []
        rows = Rows(*(np.concatenate(column) for column in zip(*map(_columns, parts), strict=True)))
        del parts
        rows = rows.take(np.lexsort((rows.place, rows.key[:, 1], rows.key[:, 0], -rows.score, rows.label)))
        rows = rows.take(np.flatnonzero(~_repeated(rows)))
        first = np.searchsorted(rows.label, np.arange(self.classes))
        rank = np.arange(len(rows)) - first[rows.label]
        rows = rows.take(np.flatnonzero(rank < self.k))
        rank = rank[rank < self.k]
        last = rank == self.k - 1
        self._least[rows.label[last]] = rows.score[last]
        self._parts, self._waiting = [rows], 0


def _columns(rows: Rows) -> tuple[np.ndarray, ...]:
    """Return the arrays of some rows."""
    return rows.label, rows.score, rows.key, rows.place


def _none() -> Rows:
    """Return no rows."""
    return Rows(np.empty(0, np.int32), np.empty(0, np.float32), np.empty((0, 2), np.uint64), np.empty(0, np.int64))


def _repeated(rows: Rows) -> np.ndarray:
    """Return whether a row of sorted rows has the class, score and key of the one before it, bool [n]."""
    same = np.zeros(len(rows), dtype=bool)
    same[1:] = (rows.label[1:] == rows.label[:-1]) & (rows.score[1:] == rows.score[:-1])
    same[1:] &= (rows.key[1:] == rows.key[:-1]).all(1)
    return same


def sparse(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is recorded of probabilities [n, classes]: image int32 [m], label int32 [m], score float32 [m].

    Every image's best class comes first (of equal ones the lowest), then its others down to FLOOR, best first.
    """
    best = probabilities.argmax(1)
    recorded = probabilities >= FLOOR
    recorded[np.arange(len(best)), best] = True
    image, label = np.nonzero(recorded)
    score = probabilities[image, label].astype(np.float32)
    order = np.lexsort((label, -score, image))
    return image[order].astype(np.int32), label[order].astype(np.int32), score[order]


def serving(image: np.ndarray, score: np.ndarray, assign: Assign, min_score: float) -> np.ndarray:
    """Return the positions of the recorded rows (see `sparse`) that count, int [m].

    best: an image serves the class that it most likely shows. all: it serves every class that gives it `min_score`.
    """
    counts = score >= np.float32(min_score)
    if assign == "best":
        counts[1:] &= image[1:] != image[:-1]
    return np.flatnonzero(counts)
