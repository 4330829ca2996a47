"""This module says what the images of an evaluation allow to conclude, of one network and of two on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssld.report.seed_statistics import ALPHA, CONFIDENCE

NORMAL = 1.959964  # quantile of the standard normal distribution at 97.5 %


@dataclass(frozen=True)
class Accuracy:
    """Hold a top-1 in percent, and its 95 % interval over images."""

    top1: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """Compare two networks on the same images: the difference of their top-1 in points, and its 95 % interval.

    only_ours, only_theirs: images that one of the two alone has right. p: of the exact test of McNemar.
    """

    points: float
    low: float
    high: float
    only_ours: int
    only_theirs: int
    p: float


def accuracy(right: np.ndarray) -> Accuracy:
    """Return the top-1 of a network that has these images right, bool [n], with Wilson's interval.

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    from scipy import stats

    interval = stats.binomtest(int(right.sum()), len(right)).proportion_ci(CONFIDENCE, method="wilson")
    return Accuracy(100 * float(right.mean()), 100 * float(interval.low), 100 * float(interval.high))


def gap(ours: np.ndarray, theirs: np.ndarray) -> Gap:
    """Compare two networks that have these images right, bool [n] each, image by image.

    Only images on which they differ say anything, and without a difference each of these is won with probability 1/2:
    that is the exact test of McNemar. The interval is that of Wald after 1/2 is added to each of the four counts, which
    keeps its level on few images (A. Agresti, Y. Min, Statistics in Medicine 24 (2005), 729-740).
    """
    from scipy import stats

    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    differ = only_ours + only_theirs
    p = float(stats.binomtest(only_ours, differ).pvalue) if differ else 1.0
    n, mean = len(ours) + 2, (only_ours - only_theirs) / (len(ours) + 2)
    reach = NORMAL * math.sqrt(max((differ + 1) / n - mean**2, 0.0) / n)
    low, high = 100 * max(mean - reach, -1.0), 100 * min(mean + reach, 1.0)
    return Gap(100 * (only_ours - only_theirs) / len(ours), low, high, only_ours, only_theirs, p)


def is_clear(p: float, choices: int) -> bool:
    """Return whether the best of so many compared ones is better by more than chance (Bonferroni: p times choices)."""
    return p * choices < ALPHA
