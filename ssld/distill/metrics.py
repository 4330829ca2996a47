"""Measure what predictions are worth: accuracy, likelihood, calibration, and the agreement of two networks.

Of equal logits the earlier class comes first. An image with a logit that is not finite counts as wrong, and values that
need probabilities (nll, ece, kl) are then None: a mean over the other images would look better than the network is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

from ssld.distill.arrays import Doubles, Flags, Numbers

BINS = 15  # the number of bins of the calibration error, as in C. Guo et al., arXiv:1706.04599
WORST = 9  # how many of the worst classes a summary names
MISTAKES = 3  # how many wrong answers it names for each of them
ROWS = 4096  # how many images are scored at a time, because their probabilities are float64
Logits: TypeAlias = npt.NDArray[np.float32 | np.float64]


@dataclass(frozen=True)
class Scored:
    """Hold what a network predicted for n images.

    `label`, int64 [n], has the true classes. `said`, int64 [n], has the class of the highest logit, -1 where a logit is
    not finite. `place`, int64 [n], counts the classes that come before the label, so that 0 is right. `nll`, float64
    [n], is the cross entropy of the label in nats. `confidence`, float64 [n], is the highest probability. The last two
    are NaN where a logit is not finite.
    """

    label: Numbers
    said: Numbers
    place: Numbers
    nll: Doubles
    confidence: Doubles

    def __len__(self) -> int:
        return len(self.label)

    @property
    def right(self) -> Flags:
        """Return bool [n]: whether the class of the highest logit is the label."""
        return self.place < 1


class Reliability(TypedDict):
    """Hold a reliability diagram: lists of BINS numbers, see `reliability`."""

    images: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


# The key `class` is a word of Python, so that these types cannot be written as classes.
PerClass = TypedDict("PerClass", {"class": list[int], "images": list[int], "top1": list[float | None]}, total=False)
"""Hold the number of images of each class and their top-1 in percent; `class` says which, if not all are scored."""
Worst = TypedDict("Worst", {"class": int, "top1": float, "images": int, "mistakes": list[list[int]]})
"""A class of low top-1, see `worst`."""


class Summary(TypedDict):
    """Hold what predictions are worth, see `summary`."""

    top1: float
    top5: float
    nll: float | None
    ece: float | None
    reliability: Reliability | None
    per_class: PerClass
    worst: list[Worst]


class Agreement(TypedDict):
    """Compare two networks on the same images, see `agreement`."""

    top1: float
    top5: float
    kl: float | None
    both_right: int
    only_student: int
    only_teacher: int
    both_wrong: int
    per_class: list[float | None]


def score(logits: Logits, labels: Numbers) -> Scored:
    """Score logits [n, classes] against labels int64 [n]."""
    return joined([_score(logits[i : i + ROWS], labels[i : i + ROWS]) for i in range(0, len(labels), ROWS)])


def joined(parts: list[Scored]) -> Scored:
    """Join the scores of several sets of images into those of one set."""
    names = [field.name for field in fields(Scored)]
    return Scored(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _score(logits: Logits, labels: Numbers) -> Scored:
    finite, images = np.isfinite(logits).all(1), np.arange(len(labels))
    logits = np.where(finite[:, None], logits, 0)
    label_logits = logits[images, labels][:, None]
    behind = (logits < label_logits) | ((logits == label_logits) & (np.arange(logits.shape[1]) >= labels[:, None]))
    logs = log_softmax(logits)
    return Scored(
        label=labels,
        said=np.where(finite, logits.argmax(1), -1),
        place=np.where(finite, (~behind).sum(1), logits.shape[1]),
        nll=np.where(finite, -logs[images, labels], np.nan),
        confidence=np.where(finite, np.exp(logs.max(1)), np.nan),
    )


def likeliest(logits: Logits, valid: Sequence[Sequence[int]]) -> Numbers:
    """Return int64 [n]: of the labels that are right for each image, the one with the highest logit."""
    return np.array(
        [min(labels, key=lambda c: (-row[c], c)) for row, labels in zip(logits, valid, strict=True)], "int64"
    )


def summary(scored: Scored, classes: int) -> Summary:
    """Return top1, top5, ece (percent), nll (mean cross entropy, nats), `reliability`, `per_class` and `worst`."""
    per_class = by_class(scored, classes)
    bins = reliability(scored)
    return {
        "top1": percent(scored.right),
        "top5": percent(scored.place < 5),
        "nll": _number(scored.nll.mean()),
        "ece": bins and calibration_error(bins),
        "reliability": bins,
        "per_class": per_class,
        "worst": worst(scored, per_class),
    }


def percent(hits: Flags) -> float:
    """Return the share of true values in percent."""
    return 100 * float(hits.sum()) / len(hits)


def reliability(scored: Scored) -> Reliability | None:
    """Return a reliability diagram of BINS bins of equal width.

    Bin m has the confidences above m/BINS and up to (m+1)/BINS. Each value is a list of BINS numbers: `images` counts
    the images of each bin; `confidence` and `accuracy` are their means in percent, None where a bin is empty. The
    diagram is None when a logit is not finite.
    """
    if not np.isfinite(scored.confidence).all():
        return None
    place = np.searchsorted(np.linspace(0, 1, BINS + 1), scored.confidence, side="left") - 1
    images = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (scored.confidence, scored.right)]
    means = [[100 * float(s) / int(n) if n else None for s, n in zip(totals, images, strict=True)] for totals in sums]
    return {"images": images.tolist(), "confidence": means[0], "accuracy": means[1]}


def calibration_error(bins: Reliability) -> float:
    """Return the expected calibration error in percent.

    It is the mean over the images of |accuracy - confidence| of their bin (arXiv:1706.04599, equation 3).
    """
    total, error = sum(bins["images"]), 0.0
    for count, accuracy, confidence in zip(bins["images"], bins["accuracy"], bins["confidence"], strict=True):
        if accuracy is not None and confidence is not None:  # of a bin with images
            error += count / total * abs(accuracy - confidence)
    return error


def by_class(scored: Scored, classes: int) -> PerClass:
    """Return for each class the number of its images and their top-1 in percent.

    The top-1 of a class without images is None.
    """
    images = np.bincount(scored.label, minlength=classes)
    hits = np.bincount(scored.label[scored.right], minlength=classes)
    top1 = [100 * int(r) / int(n) if n else None for r, n in zip(hits, images, strict=True)]
    return {"images": images.tolist(), "top1": top1}


def worst(scored: Scored, per_class: PerClass) -> list[Worst]:
    """Return the WORST classes of lowest top-1 that have a wrong image; of equal classes the earlier comes first.

    Each has `class`, `top1`, `images`, and `mistakes`: the MISTAKES classes that its images are taken for most often,
    as [class, images].
    """
    accuracies = {c: top1 for c, top1 in enumerate(per_class["top1"]) if top1 is not None and top1 < 100}
    classes = sorted(accuracies, key=lambda c: (accuracies[c], c))[:WORST]
    return [
        {"class": c, "top1": accuracies[c], "images": per_class["images"][c], "mistakes": _mistakes(scored, c)}
        for c in classes
    ]


def _mistakes(scored: Scored, label: int) -> list[list[int]]:
    answers, counts = np.unique(
        scored.said[(scored.label == label) & ~scored.right & (scored.said >= 0)], return_counts=True
    )
    return [[int(answers[i]), int(counts[i])] for i in np.argsort(-counts, kind="stable")[:MISTAKES]]


def worst_images(scored: Scored, classes: list[Worst], each: int) -> Numbers:
    """Return the positions of `each` wrong images of every class of `worst`, the most confident mistakes first."""
    positions = [np.empty(0, "int64")]
    for entry in classes:
        mistakes = np.flatnonzero((scored.label == entry["class"]) & ~scored.right)
        positions.append(mistakes[np.argsort(-scored.confidence[mistakes], kind="stable")[:each]])
    return np.concatenate(positions)


def agreement(student: Logits, teacher: Logits, labels: Numbers) -> Agreement:
    """Compare the logits [n, classes] of two networks on the same images.

    `top1` and `top5` are the share of the images, in percent, for which the teacher's highest class is the student's
    highest, or among its five highest. `per_class` is that top1 by true class. `kl` is the mean KL(teacher || student)
    in nats. `both_right`, `only_student`, `only_teacher` and `both_wrong` count the images by which of the two are
    right.
    """
    student_scores, teacher_scores = score(student, labels), score(teacher, labels)
    place = np.where(
        teacher_scores.said < 0, student.shape[1], score(student, np.maximum(teacher_scores.said, 0)).place
    )
    shares = by_class(
        Scored(labels, student_scores.said, place, student_scores.nll, student_scores.confidence), student.shape[1]
    )
    return {
        "top1": percent(place < 1),
        "top5": percent(place < 5),
        "kl": _divergence(student, teacher),
        "both_right": int((student_scores.right & teacher_scores.right).sum()),
        "only_student": int((student_scores.right & ~teacher_scores.right).sum()),
        "only_teacher": int((~student_scores.right & teacher_scores.right).sum()),
        "both_wrong": int((~student_scores.right & ~teacher_scores.right).sum()),
        "per_class": shares["top1"],
    }


def _divergence(student: Logits, teacher: Logits) -> float | None:
    """Return the mean KL(teacher || student) in nats, or None when a logit is not finite."""
    if not (np.isfinite(student).all() and np.isfinite(teacher).all()):
        return None
    total = 0.0
    for i in range(0, len(student), ROWS):
        log_s, log_t = log_softmax(student[i : i + ROWS]), log_softmax(teacher[i : i + ROWS])
        total += float((np.exp(log_t) * (log_t - log_s)).sum())
    return total / len(student)


def log_softmax(logits: Logits) -> Doubles:
    """Return the logarithm of the softmax over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    values: Doubles = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return values


def softmax(logits: Logits) -> Doubles:
    """Return the softmax over the last axis, in float64."""
    probabilities: Doubles = np.exp(log_softmax(logits))
    return probabilities


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
