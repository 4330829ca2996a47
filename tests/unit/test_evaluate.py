"""Scores of a network and agreement of two, against plain loops."""

import math

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld.data import EvalLoader, fake, read_list
from ssld.distill.evaluate import agreement, evaluate, log_softmax, predict, scores
from ssld.runtime import Runtime

HERE = Runtime(rank=0, world=1, gpu=None)


def random_logits(n=200, classes=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, classes)).astype("float32"), rng.integers(0, classes, n)


def test_scores_equal_a_stable_sort_of_every_row():
    logits, labels = random_logits()
    logits = np.round(logits)  # many ties
    hits1 = hits5 = entropy = 0.0
    for row, label in zip(logits.astype("float64"), labels, strict=True):
        ranked = sorted(range(len(row)), key=lambda c: -row[c])  # stable: the earlier class first
        hits1 += ranked[0] == label
        hits5 += label in ranked[:5]
        entropy += math.log(sum(math.exp(value) for value in row)) - row[label]
    np.testing.assert_allclose(scores(logits, labels), [200, hits1, hits5, entropy], rtol=1e-12)
    assert scores(logits, labels)[1] == (logits.argmax(1) == labels).sum()  # the same rule as argmax


def test_a_tie_is_a_miss_of_the_later_class():
    logits = np.zeros((3, 8), "float32")
    assert scores(logits, np.array([0, 4, 5]))[:3].tolist() == [3, 1, 2]


def test_logits_that_are_nan_are_no_hit():
    logits = np.full((2, 8), np.nan, "float32")
    logits[1, 3] = 1.0
    assert scores(logits, np.array([3, 4]))[1:3].tolist() == [0, 0]


def test_log_softmax_is_exact_for_large_logits():
    logits = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4 - 1, 0.0]], "float32")
    found = log_softmax(logits)
    wanted = [[0.0, -1e4, -2e4], [-math.log(3)] * 3, [-math.log1p(math.exp(-1)), -1 - math.log1p(math.exp(-1)), None]]
    np.testing.assert_allclose(found[:2], wanted[:2], rtol=1e-12)
    np.testing.assert_allclose(found[2, :2], wanted[2][:2], rtol=1e-12)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()


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


def test_a_network_is_evaluated_in_evaluation_mode_on_every_image_once(tmp_path):
    lists = fake(tmp_path, 4, train=1, val=10, unlabelled=0, size=16)
    files = read_list(lists["val"], tmp_path)
    loader = EvalLoader(files, size=8, resize=8, batch=4, mean=(0.5,) * 3, std=(0.25,) * 3)
    paddle.seed(2)
    network = nn.Sequential(
        nn.Conv2D(3, 4, 3), nn.BatchNorm2D(4), nn.Dropout(0.5), nn.AdaptiveAvgPool2D(1), nn.Flatten()
    )
    network.train()
    logits, labels = predict(network, loader)
    assert not network[1].training
    assert (logits.shape, labels.tolist()) == ((10, 4), files.labels.tolist())
    assert logits.dtype == np.float32
    assert (predict(network, loader)[0] == logits).all()  # no dropout, no batch statistics
    found = evaluate(network, loader, HERE)
    count, top1, top5, loss = scores(logits, labels)
    assert found == {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}
    assert found["top5"] == 100.0  # of four classes
