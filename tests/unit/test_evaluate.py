"""A network put to images, and a list scored as it asks."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld.data import EvalLoader, FileList, Scoring, fake, read_list
from ssld.distill import metrics
from ssld.distill.corruption import ALEXNET, corruption_errors
from ssld.distill.evaluate import evaluate, measure, predict
from ssld.runtime import Runtime

# AlexNet's errors in millionths, as google-research/augmix, imagenet.py, has them in the order of arXiv:1903.12261
PUBLISHED = [886428, 894468, 922640, 819880, 826268, 785948, 798360, 866816, 826572, 819324, 564592, 853204, 646056]
PUBLISHED += [717840, 606500]
HERE = Runtime(rank=0, world=1, gpu=None)


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
    assert network[1].training, "the mode of every layer is what it was before"
    assert (logits.shape, labels.tolist()) == ((10, 4), files.labels.tolist())
    assert logits.dtype == np.float32
    assert (predict(network, loader)[0] == logits).all()  # no dropout, no batch statistics
    found, whole = evaluate(network, loader, HERE), metrics.summary(metrics.score(logits, labels), 4)
    assert (found["top1"], found["top5"], found["loss"]) == (whole["top1"], 100.0, pytest.approx(whole["nll"]))


def asked(files, logits, scoring, teacher=None):
    """`measure` where the networks' logits are known for every path; also what the progress was told."""
    place, told = {path: i for i, path in enumerate(files.paths)}, []

    def ask(held):
        def answer(part, tell):
            tell(len(part))
            return held[[place[path] for path in part.paths]]

        return answer

    networks = {"student": ask(logits)} | ({} if teacher is None else {"teacher": ask(teacher)})
    return measure(networks, files, scoring, logits.shape[1], told.append), told


def listed(labels):
    return FileList([f"{i}.png" for i in range(len(labels))], np.array(labels, "int64"))


def test_labels_alone_give_the_summary_of_all_images_and_a_teacher_the_agreement():
    rng = np.random.default_rng(0)
    student, teacher = rng.standard_normal((2, 50, 6)).astype("float32")
    files = listed(rng.integers(0, 6, 50))
    found, told = asked(files, student, Scoring(), teacher)
    assert found.pop("agreement") == metrics.agreement(student, teacher, files.labels)
    assert found == metrics.summary(metrics.score(student, files.labels), 6)
    assert told == [50, 50]  # once for each network
    assert "agreement" not in asked(files, student, Scoring())[0]


def test_of_restricted_classes_only_their_logits_compete_and_classes_keep_their_labels():
    logits = np.array([[9, 1, 0, 2], [9, 3, 0, 2], [9, 0, 0, 2], [9, 0, 0, 1]], "float32")
    files = listed([3, 3, 1, 3])
    found, _ = asked(files, logits, Scoring(classes=np.array([1, 3])))
    assert asked(files, logits, Scoring())[0]["top1"] == 0  # class 0 would win every time
    assert found["top1"] == 50
    odds = logits[:, [1, 3]].astype("float64")
    own = odds[np.arange(4), [1, 1, 0, 1]]
    assert found["nll"] == pytest.approx((np.log(np.exp(odds).sum(1)) - own).mean())
    assert found["per_class"] == {"class": [1, 3], "images": [1, 3], "top1": [0, pytest.approx(200 / 3)]}
    assert [(entry["class"], entry["mistakes"]) for entry in found["worst"]] == [(1, [[3, 1]]), (3, [[1, 1]])]


def test_where_several_labels_are_right_any_of_them_is_a_hit():
    logits = np.eye(8, dtype="float32")[[0, 1, 2, 3]] + np.linspace(0.1, 0, 8, dtype="float32")
    found, _ = asked(listed([5, 1, 6, 7]), logits, Scoring(valid=[[5, 0], [1], [6, 7], [7, 3]]))
    assert (found["top1"], found["top5"]) == (75, 75)  # of the third, 6 and 7 come last
    assert not {"nll", "per_class", "worst"} & found.keys()
    assert found["ece"] is not None


def corrupted(right):
    """(scoring, files, logits) of `right`: (corruption, severity) -> how many of its four images are right."""
    labels = np.zeros(4 * len(right), "int64")
    said = np.concatenate([[0] * count + [1] * (4 - count) for count in right.values()])
    scoring = Scoring(corruptions=[(corruption, severity, 4) for corruption, severity in right])
    return scoring, listed(labels), np.eye(2, dtype="float32")[said]


def test_corruptions_have_errors_by_severity_their_mean_and_mce_over_that_of_alexnet():
    rng = np.random.default_rng(0)
    right = {(name, severity): int(rng.integers(0, 5)) for name in ALEXNET for severity in range(1, 6)}
    scoring, files, logits = corrupted(right)
    found, told = asked(files, logits, scoring)
    error = {name: [100 - 25 * right[name, severity] for severity in range(1, 6)] for name in ALEXNET}
    means = {name: sum(values) / 5 for name, values in error.items()}
    assert {name: held["errors"] for name, held in found["corruptions"].items()} == error
    assert found["corruptions"]["fog"]["error"] == pytest.approx(means["fog"])
    assert found["mean_error"] == pytest.approx(100 - found["top1"]) == pytest.approx(sum(means.values()) / 15)
    assert found["mce"] == pytest.approx(100 * sum(means[name] / ALEXNET[name] for name in ALEXNET) / 15)
    assert told == list(range(4, 4 * 75 + 1, 4))


def test_a_network_with_the_errors_of_alexnet_has_an_mce_of_100():
    named = [(name, severity, 10_000) for name in ALEXNET for severity in range(1, 6)]
    parts = []
    for name, _, images in named:
        wrong = np.arange(images) < round(images * ALEXNET[name] / 100)
        zeros = np.zeros(images)
        parts.append(metrics.Scored(label=zeros, said=zeros, place=wrong.astype("int64"), nll=zeros, confidence=zeros))
    assert corruption_errors(named, parts)["mce"] == pytest.approx(100, abs=0.01)
    assert [round(10_000 * error) for error in ALEXNET.values()] == PUBLISHED


def test_a_part_of_the_corruptions_has_no_mce():
    scoring, files, logits = corrupted({("fog", 1): 3, ("fog", 2): 1})
    found, _ = asked(files, logits, scoring)
    assert found["corruptions"] == {"fog": {"errors": [25, 75], "error": 50}}
    assert (found["mean_error"], found["mce"]) == (50, None)
