"""Judge whether a network from elsewhere knows the recipe's classes, by its top-1 on labelled images."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ssld.config.foreign import LOGITS, AccuracyCheck
from ssld.errors import RunError
from ssld.foreign.tensors import Array

Labels = NDArray[np.int64]


class Network(Protocol):
    @property
    def classes(self) -> int: ...

    def __call__(self, images: Array) -> Mapping[str, Array]: ...


@dataclass(frozen=True)
class Accuracy:
    """Hold the percent of `images` labelled images that are right. It is NaN where there was no image.

    `renamed` is the top-1 that the network has when each of its classes is renamed to the label that occurs most often
    with it. The names are learnt on one half of the images and `renamed` is counted on the other half. It is far above
    `top1` where the network is right and only the order of its classes is not.
    """

    top1: float
    images: int
    renamed: float


def accuracy(network: Network, batches: Iterable[tuple[Array, Labels]], images: int | None = None) -> Accuracy:
    """Measure the top-1 of a network on at most `images` images of batches (images, labels).

    Images are float32 [n, 3, S, S] as the network's own spec normalises them, labels int [n]; an image whose label is
    below 0 has none and is left out. Of equal logits the earlier class comes first.
    """
    labels, answers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    remaining = np.inf if images is None else images
    for batch, batch_labels in batches:
        if remaining <= 0:
            break
        positions = np.flatnonzero(batch_labels >= 0)[: None if images is None else int(remaining)]
        if len(positions):
            labels.append(batch_labels[positions].astype(np.int64))
            answers.append(network(batch[positions])[LOGITS].argmax(axis=1))
            remaining -= len(positions)
    truth, predicted = np.concatenate(labels), np.concatenate(answers)
    return Accuracy(_percent(truth == predicted), len(truth), _renamed(truth, predicted))


def check_accuracy(
    name: str, network: Network, batches: Iterable[tuple[Array, Labels]], check: AccuracyCheck, skip: str
) -> Accuracy | None:
    """Measure a teacher and raise RunError when it is at about chance, or below `check.least_top1`.

    "About chance" is below `chance_bound` of its classes. `skip` names the key that skips the check, such as
    `teachers.vit.check.images=0`; with 0 images nothing is measured and None is returned.
    """
    if not check.images:
        return None
    measured = accuracy(network, batches, check.images)
    if not measured.images:
        raise RunError(f"teacher {name}: no validation image has a label to check it with; give labels, or set {skip}")
    judge(name, measured, network.classes, check.least_top1, skip)
    return measured


def judge(name: str, measured: Accuracy, classes: int, least_top1: float, skip: str) -> None:
    """Raise RunError for a top-1 that is about chance or below `least_top1`; it says what is likely to be wrong."""
    bound = chance_bound(classes)
    if measured.top1 >= max(bound, least_top1):
        return
    at_chance = measured.top1 < bound
    what = "about chance" if at_chance else f"below least_top1 {least_top1:g}"
    advice = "check class order, normalisation and layout"
    if measured.renamed >= max(bound, measured.top1 + bound):
        advice = f"with its classes renamed it has {measured.renamed:.1f}, so their order is wrong: check classes_file"
    score = f"{measured.top1:.1f} top-1 on {measured.images:,} labelled validation images of {classes:,} classes"
    raise RunError(f"teacher {name}: {score}, {what}; {advice} ({skip} skips this check)")


def chance_bound(classes: int) -> float:
    """Return the percent below which a top-1 counts as chance.

    It is twice 1 / classes, and for few classes a quarter of the way to 100.
    """
    chance = 100 / classes
    return chance + min(chance, (100 - chance) / 4)


def _renamed(labels: Labels, answers: Labels) -> float:
    order = np.random.default_rng(0).permutation(len(labels))
    pairs = list(zip(answers[order].tolist(), labels[order].tolist(), strict=True))
    votes: dict[int, Counter[int]] = defaultdict(Counter)
    for answer, label in pairs[::2]:
        votes[answer][label] += 1
    names = {answer: labels_of.most_common(1)[0][0] for answer, labels_of in votes.items()}
    return _percent(np.array([names.get(answer) == label for answer, label in pairs[1::2]], bool))


def _percent(right: NDArray[np.bool_]) -> float:
    return 100 * float(right.mean()) if len(right) else float("nan")
