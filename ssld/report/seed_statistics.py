"""This module says what seeds allow to conclude.

It computes mean and deviation, and whether two recipes differ by more than their noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALPHA, CONFIDENCE = 0.05, 0.95
ENOUGH = 3  # with fewer paired seeds no difference is called one, however small its p
RESAMPLES = 10_000


@dataclass(frozen=True)
class Spread:
    """Hold mean and sample standard deviation (divisor n - 1) over seeds. One seed has no deviation."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class PairedTest:
    """Hold the two-sided t-test of pairs, and two intervals of their mean difference, 95 % each.

    low, high: of the t distribution. boot_low, boot_high: of the bootstrap (`bootstrap`).
    """

    t: float
    df: int
    p: float
    low: float
    high: float
    boot_low: float
    boot_high: float

    @property
    def distinguishable(self) -> bool:
        """Return whether a difference may be called one: enough pairs, p below 0.05, and a bootstrap interval without
        0.
        """
        return self.df + 1 >= ENOUGH and self.p < ALPHA and (self.boot_low > 0 or self.boot_high < 0)


def spread(values: Sequence[float]) -> Spread:
    """Return mean and deviation of some values."""
    return Spread(mean=float(np.mean(values)), sd=float(np.std(values, ddof=1)) if len(values) > 1 else None)


def paired_test(ours: Sequence[float], theirs: Sequence[float]) -> PairedTest | None:
    """Test whether pairs differ. Returns None for one pair, and where all differences are equal."""
    from scipy import stats

    differences = np.subtract(ours, theirs)
    if len(differences) < 2 or np.ptp(differences) < 1e-9:
        return None
    test = stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(CONFIDENCE)
    low, high = bootstrap(differences)
    return PairedTest(
        t=float(test.statistic),
        df=int(test.df),
        p=float(test.pvalue),
        low=float(interval.low),
        high=float(interval.high),
        boot_low=low,
        boot_high=high,
    )


def bootstrap(differences: np.ndarray) -> tuple[float, float]:
    """Return the percentile interval of the mean: pairs are drawn anew, with replacement, RESAMPLES times.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3. Of few pairs the interval is
    too narrow, so it never stands alone here. NumPy keeps the numbers of this generator, so pages stay as they are.
    """
    draws = np.random.RandomState(0).randint(0, len(differences), (RESAMPLES, len(differences)))
    means = differences[draws].mean(1)
    tail = 50 * ALPHA
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def p_value(value: float) -> str:
    """Write a p value."""
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def deviation(level: Spread) -> str:
    """Write a deviation: ` ± 0.12`, nothing where there is none."""
    return f" ± {level.sd:.2f}" if level.sd is not None else ""
