"""These tests compare the k best of each class with sorting everything, in any order and any pieces."""

import numpy as np
import pytest

from ssld.mine import topk
from ssld.mine.results import SeenContents
from ssld.mine.topk import Rows, TopK, serving, sparse

CLASSES, K = 5, 7


@pytest.fixture(autouse=True)
def no_spare_rows(monkeypatch):
    """Let the worst rows be thrown out after a few already."""
    monkeypatch.setattr(topk, "SPARE", 16)


def drawn(count=400):
    """Return rows with many equal scores; their keys are unique."""
    rng = np.random.default_rng(0)
    keys = rng.permutation(count).astype(np.uint64)
    return Rows(
        rng.integers(0, CLASSES, count).astype(np.int32),
        rng.integers(0, 12, count).astype(np.float32) / 12,
        np.stack([keys // np.uint64(3), keys], axis=1),
        np.arange(count, dtype=np.int64),
    )


def kept(rows, *pieces):
    top = TopK(CLASSES, K)
    for piece in pieces:
        top.add(rows.take(piece))
    return listed(top)


def listed(top):
    rows = top.rows()
    return list(zip(rows.label.tolist(), rows.score.tolist(), rows.key.tolist(), rows.place.tolist(), strict=True))


def by_sorting(rows):
    """Return the same from Python's own sort."""
    every = sorted(
        zip(rows.label.tolist(), rows.score.tolist(), rows.key.tolist(), rows.place.tolist(), strict=True),
        key=lambda row: (row[0], -row[1], row[2]),
    )
    return [row for label in range(CLASSES) for row in [r for r in every if r[0] == label][:K]]


def test_the_k_best_of_each_class_are_those_of_a_full_sort():
    rows = drawn()
    assert kept(rows, np.arange(len(rows))) == by_sorting(rows)


def test_neither_the_order_of_the_rows_nor_the_pieces_they_come_in_matter():
    rows = drawn()
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(rows))
        assert kept(rows, *np.array_split(order, 3 + 11 * seed)) == by_sorting(rows)


def test_what_several_ranks_kept_merges_to_what_one_would_have_kept():
    rows = drawn()
    ranks = [TopK(CLASSES, K) for _ in range(3)]
    for number, piece in enumerate(np.array_split(np.arange(len(rows)), 9)):
        ranks[number % 3].add(rows.take(piece))
    for first, second in ((0, 1), (2, 0)):
        ranks[first].merge(ranks[second])
    ranks[2].merge(ranks[0])  # the rows are added once more: rows that come twice count once
    assert listed(ranks[2]) == by_sorting(rows)


def test_of_equal_scores_the_smaller_key_stays():
    rows = Rows(
        np.zeros(3, np.int32), np.full(3, 0.5, np.float32), np.array([[0, 9], [0, 1], [0, 5]], np.uint64), np.arange(3)
    )
    top = TopK(1, 2)
    top.add(rows)
    assert top.rows().place.tolist() == [1, 2]


def test_a_class_with_fewer_rows_keeps_them_all_and_an_empty_one_none():
    top = TopK(3, 4)
    assert len(top.rows()) == 0
    top.add(Rows(np.array([2], np.int32), np.array([0.1], np.float32), np.zeros((1, 2), np.uint64), np.array([7])))
    assert top.rows().label.tolist() == [2]


def test_no_more_rows_stay_in_memory_than_a_few_times_classes_x_k():
    rows, top = drawn(4000), TopK(CLASSES, K)
    for piece in np.array_split(np.arange(len(rows)), 400):
        top.add(rows.take(piece))
        assert sum(map(len, top._parts)) <= CLASSES * K + top._room + 10


def test_recorded_rows_are_the_best_class_and_all_others_down_to_one_percent():
    probabilities = np.array([[0.009, 0.5, 0.4, 0.091], [0.25, 0.25, 0.25, 0.25]], np.float32)
    image, label, score = sparse(probabilities)
    assert image.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert label.tolist() == [1, 2, 3, 0, 1, 2, 3]
    assert score.tolist() == pytest.approx([0.5, 0.4, 0.091, 0.25, 0.25, 0.25, 0.25])
    # Every class is below one percent, and the best one is still recorded.
    flat = np.full((1, 500), 1 / 500, np.float32)
    assert [part.tolist() for part in sparse(flat)[:2]] == [[0], [0]]


def test_an_image_serves_its_best_class_or_all_that_reach_the_score():
    image, _, score = sparse(np.array([[0.6, 0.3, 0.1], [0.2, 0.4, 0.4]], np.float32))
    assert serving(image, score, "best", 0.0).tolist() == [0, 3]
    assert serving(image, score, "best", 0.5).tolist() == [0]
    assert serving(image, score, "all", 0.3).tolist() == [0, 1, 3, 4]


def test_contents_are_new_the_first_time_only_however_they_are_cut():
    contents = np.random.default_rng(1).integers(0, 3, (200, 16), dtype=np.uint8)
    contents[:, 1:8] = 0  # the first 8 bytes, which alone are compared, often agree
    contents[:, 7] = np.random.default_rng(2).integers(0, 40, 200)
    answers = {7: [], 64: []}
    for size, answer in answers.items():
        seen = SeenContents()
        for start in range(0, 200, size):
            answer += seen.first(contents[start : start + size]).tolist()
    known, expected = set(), []
    for content in contents:
        expected.append(content[:8].tobytes() not in known)
        known.add(content[:8].tobytes())
    assert answers[7] == answers[64] == expected
