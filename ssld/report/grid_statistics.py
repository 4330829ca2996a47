"""This module says what a grid of runs allows to conclude, over seeds of one pair and over all pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssld.report.seed_statistics import ALPHA

POWER = 0.8  # probability with which a difference is to be seen


@dataclass(frozen=True)
class Ranks:
    """Hold the mean rank of each method over blocks, rank 1 is the best, and two tests of them.

    blocks: how many there are. chi_square, p: of Friedman's test that all methods are equal. critical: by Nemenyi's
    test two methods differ where their mean ranks differ by more than this.
    """

    mean: dict[str, float]
    blocks: int
    chi_square: float
    p: float
    critical: float

    def groups(self) -> list[list[str]]:
        """Return the largest groups of methods, best first, in which no two differ; each has two methods or more."""
        order = sorted(self.mean, key=lambda name: self.mean[name])
        found: list[list[str]] = []
        for first, name in enumerate(order):
            group = [other for other in order[first:] if self.mean[other] - self.mean[name] <= self.critical]
            if len(group) > 1 and not (found and set(group) <= set(found[-1])):
                found.append(group)
        return found


def holm(values: Mapping[str, float]) -> dict[str, float]:
    """Return p values that are adjusted for their number: below a level, all below it are so at once.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.
    """
    adjusted, largest = dict[str, float](), 0.0
    for place, name in enumerate(sorted(values, key=lambda name: values[name])):
        largest = max(largest, min(1.0, (len(values) - place) * values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in values}


def ranks(numbers: Mapping[str, Sequence[float]]) -> Ranks | None:
    """Rank the methods in each block by their numbers, of which more is better; equal ones share their mean rank.

    numbers: of each method one number for each block, in the same order. Returns None for fewer than three methods, for
    one block, and where every method has the same numbers: Friedman's test says nothing there.

    Sources: M. Friedman, Journal of the American Statistical Association 32 (1937), 675-701; J. Demsar, Journal of
    Machine Learning Research 7 (2006), 1-30, for Nemenyi's critical difference q sqrt(k (k + 1) / (6 N)), where q is a
    quantile of the studentized range, of infinite degrees of freedom, divided by sqrt(2).
    """
    from scipy import stats

    table = np.array([*numbers.values()], dtype=float)  # [methods, blocks]
    methods, blocks = table.shape
    if methods < 3 or blocks < 2 or (table == table[0]).all():
        return None
    test = stats.friedmanchisquare(*table)
    mean = stats.rankdata(-table, axis=0).mean(axis=1)
    quantile = float(stats.studentized_range.ppf(1 - ALPHA, methods, math.inf)) / math.sqrt(2)
    return Ranks(
        mean=dict(zip(numbers, map(float, mean), strict=True)),
        blocks=blocks,
        chi_square=float(test.statistic),
        p=float(test.pvalue),
        critical=quantile * math.sqrt(methods * (methods + 1) / (6 * blocks)),
    )


def least_seen(deviation: float, seeds: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Return the true difference that a two-sided paired t-test of so many seeds finds with this probability.

    deviation: of the paired differences. The power is that of the noncentral t distribution; see J. Cohen, Statistical
    Power Analysis for the Behavioral Sciences (1988), chapter 2.
    """
    from scipy import optimize, stats

    if seeds < 2 or deviation <= 0:
        return math.inf if seeds < 2 else 0.0
    free, bound = seeds - 1, float(stats.t.ppf(1 - alpha / 2, seeds - 1))

    def missing(effect: float) -> float:
        return float(stats.nct.sf(bound, free, effect * math.sqrt(seeds))) - power  # the other tail is next to nothing

    return deviation * float(optimize.brentq(missing, 1e-6, 3 * bound / math.sqrt(seeds)))
