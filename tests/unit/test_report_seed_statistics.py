"""These tests ask when a difference over seeds may be called one."""

from dataclasses import replace

import numpy as np
import pytest

from ssld.report.seed_statistics import PairedTest, bootstrap, paired_test

CLEAR = PairedTest(t=5.0, df=4, p=0.01, low=1.0, high=3.0, boot_low=1.2, boot_high=2.8)


def test_the_bootstrap_interval_is_that_of_scipy() -> None:
    from scipy import stats

    differences = np.random.default_rng(3).normal(0.5, 1.0, 12)
    other = stats.bootstrap((differences,), np.mean, n_resamples=40_000, method="percentile", random_state=1)
    assert bootstrap(differences) == pytest.approx(tuple(other.confidence_interval), abs=0.03)


def test_the_bootstrap_of_three_pairs_ends_at_the_extreme_differences() -> None:
    """Of 27 equally likely draws one is three times the smallest: 3.7 %, more than the 2.5 % that are cut off."""
    assert bootstrap(np.array([1.0, 2.0, 4.0])) == (1.0, 4.0)


def test_the_bootstrap_says_the_same_each_time() -> None:
    differences = np.array([0.3, 1.1, -0.4, 0.9, 0.2])
    assert bootstrap(differences) == bootstrap(differences)


@pytest.mark.parametrize(
    ("changes", "distinguishable"),
    [
        ({}, True),
        ({"boot_low": -2.8, "boot_high": -1.2}, True),
        ({"p": 0.05}, False),
        ({"boot_low": -0.1}, False),
        ({"df": 1}, False),  # these are two pairs only
        ({"df": 2}, True),
    ],
)
def test_a_difference_needs_three_pairs_a_small_p_and_an_interval_without_zero(changes, distinguishable) -> None:
    assert replace(CLEAR, **changes).distinguishable is distinguishable


def test_one_pair_and_equal_differences_allow_no_test() -> None:
    assert paired_test([1.0], [2.0]) is None
    assert paired_test([1.0, 2.0, 3.0], [0.5, 1.5, 2.5]) is None
