"""Every metric against plain loops in float64, closed forms, and what must not change it."""

import json
import math

import numpy as np
import pytest

from ssld.distill import metrics
from ssld.distill.metrics import agreement, log_softmax, score, summary


def random_logits(n=200, classes=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, classes)).astype("float32"), rng.integers(0, classes, n)


def logits_of(*rows):
    """Logits float32 whose softmax is these probabilities."""
    return np.log(np.array(rows, "float64")).astype("float32")


def test_scores_equal_a_stable_sort_of_every_row():
    logits, labels = random_logits()
    logits = np.round(logits)  # many ties
    hits1 = hits5 = entropy = 0.0
    for row, label in zip(logits.astype("float64"), labels, strict=True):
        ranked = sorted(range(len(row)), key=lambda c: -row[c])  # stable: the earlier class first
        hits1 += ranked[0] == label
        hits5 += label in ranked[:5]
        entropy += math.log(sum(math.exp(value) for value in row)) - row[label]
    found = summary(score(logits, labels), 12)
    assert (found["top1"], found["top5"]) == (hits1 / 2, hits5 / 2)
    assert found["nll"] == pytest.approx(entropy / 200, rel=1e-12)
    assert found["top1"] == 100 * (logits.argmax(1) == labels).mean()  # the same rule as argmax


def test_a_tie_is_a_miss_of_the_later_class():
    found = score(np.zeros((3, 8), "float32"), np.array([0, 4, 5]))
    assert found.place.tolist() == [0, 4, 5]
    assert found.said.tolist() == [0, 0, 0]


def test_images_are_scored_alike_in_one_piece_and_in_many(monkeypatch):
    logits, labels = random_logits()
    whole = summary(score(logits, labels), 12), agreement(logits, logits[::-1], labels)
    monkeypatch.setattr(metrics, "ROWS", 7)
    pieces = summary(score(logits, labels), 12), agreement(logits, logits[::-1], labels)
    assert pieces[0] == whole[0]
    assert pieces[1]["kl"] == pytest.approx(whole[1]["kl"], rel=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_no_hit_and_leave_nothing_made_of_probabilities(value):
    logits, labels = random_logits()
    logits[5, labels[5]] = value
    logits[6] = value
    scored = score(logits, labels)
    assert scored.said[5:7].tolist() == [-1, -1]
    assert scored.place[5:7].tolist() == [12, 12]
    found = summary(scored, 12)
    assert (found["nll"], found["ece"], found["reliability"]) == (None, None, None)
    kept = np.delete(logits, [5, 6], 0), np.delete(labels, [5, 6])
    assert found["top1"] == pytest.approx(summary(score(*kept), 12)["top1"] * 198 / 200)
    told = agreement(logits, logits, labels)
    assert (told["kl"], told["top1"], told["top5"]) == (None, 99.0, 99.0)  # nothing was said, so nothing alike
    json.dumps([found, told], allow_nan=False)


def test_log_softmax_is_exact_for_large_logits():
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4 - 1, 0.0]], "float32")
    found = log_softmax(logits)
    wanted = [[0.0, -1e4, -2e4], [-math.log(3)] * 3, [-math.log1p(math.exp(-1)), -1 - math.log1p(math.exp(-1)), None]]
    np.testing.assert_allclose(found[:2], wanted[:2], rtol=1e-12)
    np.testing.assert_allclose(found[2, :2], wanted[2][:2], rtol=1e-12)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


def expected_calibration_error(logits, labels, bins=15):
    """Guo et al., equations 2 and 3, image by image: bins ((m - 1) / M, m / M]."""
    members = [[] for _ in range(bins)]
    for row, label in zip(logits.astype("float64"), labels, strict=True):
        shares = np.exp(row - row.max())
        shares /= shares.sum()
        m = math.ceil(shares.max() * bins) - 1
        members[m].append((shares.max(), float(row.argmax() == label)))
    gaps = [abs(sum(right for _, right in held) - sum(sure for sure, _ in held)) for held in members]
    return 100 * sum(gaps) / len(labels)


@pytest.mark.parametrize("scale", [0.1, 1, 3, 30])
def test_the_calibration_error_is_that_of_the_formula(scale):
    logits, labels = random_logits(n=997)
    logits = logits * np.float32(scale)
    labels = np.where(np.arange(997) % 3 == 0, logits.argmax(1), labels)
    found = summary(score(logits, labels), 12)
    assert found["ece"] == pytest.approx(expected_calibration_error(logits, labels), rel=1e-9)
    assert sum(found["reliability"]["images"]) == 997


def test_a_planted_miscalibration_is_found():
    """Says 80 % every time and is right half of the time: the error is 30 %, all in the bin of (11/15, 12/15]."""
    logits = np.tile(logits_of([0.8, 0.1, 0.1]), (100, 1))
    found = summary(score(logits, np.arange(100) % 2), 3)
    assert found["ece"] == pytest.approx(30, abs=1e-5)
    bins = found["reliability"]
    assert np.flatnonzero(bins["images"]).tolist() in ([11], [12])  # 0.8 is an edge, up to rounding of a float32
    assert [value for value in bins["accuracy"] if value is not None] == [50]
    assert [value for value in bins["confidence"] if value is not None] == [pytest.approx(80, abs=1e-5)]
    calibrated = summary(score(logits, np.array([0] * 80 + [1] * 20)), 3)
    assert calibrated["ece"] == pytest.approx(0, abs=1e-5)


def test_an_edge_belongs_to_the_bin_below_it_and_certainty_to_the_last():
    sure = np.array([1 / 15, 0.2, 0.2 + 1e-9, 1.0])
    zeros = np.zeros(4, "int64")
    scored = metrics.Scored(label=zeros, said=zeros, place=zeros, nll=np.zeros(4), confidence=sure)
    assert np.repeat(np.arange(15), metrics.reliability(scored)["images"]).tolist() == [0, 2, 3, 14]


def test_classes_have_their_own_top1_and_one_without_images_has_none():
    logits = np.eye(5, dtype="float32")[[0, 0, 1, 1, 4, 4]]
    found = summary(score(logits, np.array([0, 1, 1, 1, 4, 4])), 5)
    assert found["per_class"]["images"] == [1, 3, 0, 0, 2]
    assert found["per_class"]["top1"] == [100, pytest.approx(200 / 3), None, None, 100]
    assert found["worst"] == [{"class": 1, "top1": pytest.approx(200 / 3), "images": 3, "mistakes": [[0, 1]]}]


def test_the_worst_classes_come_first_with_what_they_are_taken_for_and_no_more_than_so_many():
    said = np.array([*[0] * 3, *[2] * 4, *[3] * 2, 4, *range(29)])
    labels = np.array([1] * 10 + [0] * 29)
    found = summary(score(np.eye(40, dtype="float32")[said], labels), 40)["worst"]
    assert [entry["class"] for entry in found] == [1, 0]
    assert found[0] == {"class": 1, "top1": 0, "images": 10, "mistakes": [[2, 4], [0, 3], [3, 2]]}
    everywhere = summary(score(np.eye(40, dtype="float32")[(np.arange(40) + 1) % 40], np.arange(40)), 40)["worst"]
    assert [entry["class"] for entry in everywhere] == list(range(metrics.WORST))


def test_the_pictures_of_the_worst_classes_are_their_most_confident_mistakes():
    labels = np.array([0, 0, 0, 0, 1, 1])
    logits = np.array([[0, 1], [0, 3], [5, 0], [0, 2], [9, 0], [0, 9]], "float32")
    scored = score(logits, labels)
    named = summary(scored, 2)["worst"]
    assert [entry["class"] for entry in named] == [0, 1]
    assert metrics.worst_images(scored, named, each=2).tolist() == [1, 3, 4]
    assert metrics.worst_images(scored, [], each=2).tolist() == []


def test_of_several_right_labels_the_one_that_is_ranked_first_counts():
    logits = np.array([[1, 5, 3, 3], [4, 4, 0, 1], [0, 1, 2, 3]], "float32")
    assert metrics.likeliest(logits, [[3, 2], [1, 0], [0]]).tolist() == [2, 0, 0]


def test_agreement_counts_every_image_once():
    student, labels = random_logits(seed=1)
    teacher, _ = random_logits(seed=2)
    labels[labels == 11] = 3  # nobody is of class 11
    found = agreement(student, teacher, labels)
    said, taught = student.argmax(1), teacher.argmax(1)
    names = {(True, True): "both_right", (True, False): "only_student", (False, True): "only_teacher"}
    counts = dict.fromkeys((*names.values(), "both_wrong"), 0)
    for s, t, label in zip(said, taught, labels, strict=True):
        counts[names.get((s == label, t == label), "both_wrong")] += 1
    assert {name: found[name] for name in counts} == counts
    assert sum(counts.values()) == 200
    assert found["top1"] == pytest.approx(100 * np.mean(said == taught))
    first_five = np.argsort(-student, axis=1, kind="stable")[:, :5]
    assert found["top5"] == pytest.approx(100 * np.mean((first_five == taught[:, None]).any(1)))
    for c in range(11):
        assert found["per_class"][c] == pytest.approx(100 * np.mean((said == taught)[labels == c]))
    assert found["per_class"][11] is None


def test_the_divergence_is_of_the_student_from_the_teacher():
    s, t = [0.5, 0.25, 0.25], [0.1, 0.3, 0.6]
    student, teacher = np.log([s]), np.log([t])
    wanted = sum(b * math.log(b / a) for a, b in zip(s, t, strict=True))
    assert agreement(student, teacher, np.array([0]))["kl"] == pytest.approx(wanted)
    assert agreement(teacher, teacher, np.array([0]))["kl"] == pytest.approx(0, abs=1e-15)
    confident = np.array([[1e4, 0.0, 0.0]])
    assert math.isfinite(agreement(student, confident, np.array([0]))["kl"])
