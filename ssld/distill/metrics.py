"""What predictions are worth: accuracy, likelihood, calibration, single classes, and how far two networks agree.

Of equal logits the earlier class comes first. An image with a logit that is not finite counts as wrong, and what is
made of probabilities (nll, ece, kl) is None then: a mean over the other images would look better than the network is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ssld.distill.arrays import Array

BINS = 15  # of the calibration error, as in C. Guo et al., arXiv:1706.04599
WORST = 9  # classes that are named
MISTAKES = 3  # answers that are named for each of them
ROWS = 4096  # images at a time: their probabilities are float64


@dataclass(frozen=True)
class Scored:
    """What a network said of n images.

    label: int64 [n]; said: int64 [n], the class of the highest logit, -1 where a logit is not finite; place: int64 [n],
    how many classes come before the label, so 0 is right; nll: float64 [n], cross entropy of the label in nats;
    confidence: float64 [n], the highest probability. The last two are NaN where a logit is not finite.
    """

    label: Array
    said: Array
    place: Array
    nll: Array
    confidence: Array

    def __len__(self) -> int:
        return len(self.label)

    @property
    def right(self) -> Array:
        """bool [n]"""
        return self.place < 1


def score(logits: Array, labels: Array) -> Scored:
    """Of logits [n, classes] and labels int64 [n]."""
    return joined([_score(logits[i : i + ROWS], labels[i : i + ROWS]) for i in range(0, len(labels), ROWS)])


def joined(parts: list[Scored]) -> Scored:
    """Several sets of images as one."""
    names = [field.name for field in fields(Scored)]
    return Scored(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _score(logits: Array, labels: Array) -> Scored:
    finite, images = np.isfinite(logits).all(1), np.arange(len(labels))
    logits = np.where(finite[:, None], logits, 0)
    own = logits[images, labels][:, None]
    behind = (logits < own) | ((logits == own) & (np.arange(logits.shape[1]) >= labels[:, None]))
    logs = log_softmax(logits)
    return Scored(
        label=labels,
        said=np.where(finite, logits.argmax(1), -1),
        place=np.where(finite, (~behind).sum(1), logits.shape[1]),
        nll=np.where(finite, -logs[images, labels], np.nan),
        confidence=np.where(finite, np.exp(logs.max(1)), np.nan),
    )


def likeliest(logits: Array, valid: Sequence[Sequence[int]]) -> Array:
    """int64 [n]: of the labels that are right for each image, the one of the highest logit."""
    return np.array([min(held, key=lambda c: (-row[c], c)) for row, held in zip(logits, valid, strict=True)], "int64")


def summary(scored: Scored, classes: int) -> dict[str, Any]:
    """top1, top5 (percent), nll (mean cross entropy, nats), ece (percent), `reliability`, `per_class` and `worst`."""
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


def percent(hits: Array) -> float:
    """Share of True, in percent."""
    return 100 * float(hits.sum()) / len(hits)


def reliability(scored: Scored) -> dict[str, list[Any]] | None:
    """A reliability diagram of BINS bins of equal width: bin m holds confidences above m/BINS, at most (m+1)/BINS.

    Lists of BINS: `images`, how many; `confidence` and `accuracy`, their means in percent, None where a bin is empty.
    None when a logit is not finite.
    """
    if not np.isfinite(scored.confidence).all():
        return None
    place = np.searchsorted(np.linspace(0, 1, BINS + 1), scored.confidence, side="left") - 1
    images = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, weights=values, minlength=BINS) for values in (scored.confidence, scored.right)]
    means = [[100 * float(s) / int(n) if n else None for s, n in zip(held, images, strict=True)] for held in sums]
    return {"images": images.tolist(), "confidence": means[0], "accuracy": means[1]}


def calibration_error(bins: dict[str, list[Any]]) -> float:
    """ECE, percent: mean over the images of |accuracy - confidence| of their bin. arXiv:1706.04599, equation 3"""
    total = sum(bins["images"])
    rows = zip(bins["images"], bins["accuracy"], bins["confidence"], strict=True)
    return float(sum(count / total * abs(right - sure) for count, right, sure in rows if count))


def by_class(scored: Scored, classes: int) -> dict[str, list[Any]]:
    """Of each class the number of its images, and their top-1 in percent, None for a class without images."""
    images = np.bincount(scored.label, minlength=classes)
    right = np.bincount(scored.label[scored.right], minlength=classes)
    top1 = [100 * int(r) / int(n) if n else None for r, n in zip(right, images, strict=True)]
    return {"images": images.tolist(), "top1": top1}


def worst(scored: Scored, per_class: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The WORST classes of lowest top-1 (of equal ones the earlier) that have a wrong image: `class`, `top1`, `images`,
    and `mistakes`, the MISTAKES classes that they are taken for most often, as [class, images]."""
    wrong = {c: top1 for c, top1 in enumerate(per_class["top1"]) if top1 is not None and top1 < 100}
    named = sorted(wrong, key=lambda c: (wrong[c], c))[:WORST]
    return [
        {"class": c, "top1": wrong[c], "images": per_class["images"][c], "mistakes": _mistakes(scored, c)}
        for c in named
    ]


def _mistakes(scored: Scored, label: int) -> list[list[int]]:
    said, counts = np.unique(
        scored.said[(scored.label == label) & ~scored.right & (scored.said >= 0)], return_counts=True
    )
    return [[int(said[i]), int(counts[i])] for i in np.argsort(-counts, kind="stable")[:MISTAKES]]


def worst_images(scored: Scored, named: list[dict[str, Any]], each: int) -> Array:
    """Positions of `each` wrong images of every class of `worst`, the most confident mistakes first."""
    found = [np.empty(0, "int64")]
    for entry in named:
        wrong = np.flatnonzero((scored.label == entry["class"]) & ~scored.right)
        found.append(wrong[np.argsort(-scored.confidence[wrong], kind="stable")[:each]])
    return np.concatenate(found)


def agreement(student: Array, teacher: Array, labels: Array) -> dict[str, Any]:
    """Of logits [n, classes] of two networks on the same images.

    top1, top5: share of the images, in percent, whose highest class of the teacher is the highest, or among the five
    highest, of the student; per_class: top1 by true class; kl: mean KL(teacher || student) in nats; and how many images
    both, one or none of the two get right.
    """
    own, taught = score(student, labels), score(teacher, labels)
    place = np.where(taught.said < 0, student.shape[1], score(student, np.maximum(taught.said, 0)).place)
    shares = by_class(Scored(labels, own.said, place, own.nll, own.confidence), student.shape[1])
    return {
        "top1": percent(place < 1),
        "top5": percent(place < 5),
        "kl": _divergence(student, teacher),
        "both_right": int((own.right & taught.right).sum()),
        "only_student": int((own.right & ~taught.right).sum()),
        "only_teacher": int((~own.right & taught.right).sum()),
        "both_wrong": int((~own.right & ~taught.right).sum()),
        "per_class": shares["top1"],
    }


def _divergence(student: Array, teacher: Array) -> float | None:
    """Mean KL(teacher || student); None when a logit is not finite."""
    if not (np.isfinite(student).all() and np.isfinite(teacher).all()):
        return None
    total = 0.0
    for i in range(0, len(student), ROWS):
        log_s, log_t = log_softmax(student[i : i + ROWS]), log_softmax(teacher[i : i + ROWS])
        total += float((np.exp(log_t) * (log_t - log_s)).sum())
    return total / len(student)


def log_softmax(logits: Array) -> Array:
    """Over the last axis, in float64."""
    shifted = logits.astype("float64") - logits.max(-1, keepdims=True)
    values: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return values


def softmax(logits: Array) -> Array:
    """Over the last axis, in float64."""
    return np.exp(log_softmax(logits))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
