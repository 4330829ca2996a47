"""What a grid allows to conclude, against worked examples of the literature."""

import math

import numpy as np
import pytest

from ssld.report.grid_statistics import holm, least_seen, ranks

# Accuracy of four learners on fourteen data sets: the example of Demsar (2006), table 6.
C45 = (0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957)
C45_M = (0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978)
C45_CF = (0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946)
C45_BOTH = (0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970)


def test_friedman_and_nemenyi_give_what_the_example_of_demsar_prints():
    found = ranks({"c45": C45, "m": C45_M, "cf": C45_CF, "both": C45_BOTH})
    assert [round(found.mean[name], 3) for name in ("c45", "m", "cf", "both")] == [3.143, 2.0, 2.893, 1.964]
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert found.blocks == 14
    assert found.p < 0.05
    assert found.groups() == [["both", "m", "cf", "c45"]]  # as printed: the test is not strong enough for these


def test_groups_join_what_is_not_told_apart_and_nothing_else():
    found = ranks({name: [10 * place + block for block in range(12)] for place, name in enumerate("edcba")})
    assert [found.mean[name] for name in "abcde"] == [1, 2, 3, 4, 5]
    assert 1 < found.critical < 2
    assert found.groups() == [["a", "b"], ["b", "c"], ["c", "d"], ["d", "e"]]


def test_ranks_say_nothing_of_two_methods_of_one_block_or_of_equal_numbers():
    assert ranks({"a": [1, 2, 3], "b": [2, 1, 3]}) is None
    assert ranks({"a": [1], "b": [2], "c": [3]}) is None
    assert ranks({"a": [1, 1], "b": [1, 1], "c": [1, 1]}) is None


def test_holm_multiplies_the_smallest_by_all_and_never_falls():
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_finds_nothing_in_noise_more_often_than_it_says():
    """Of 300 families of 20 tests of nothing at most about one in twenty has a finding."""
    draws = np.random.default_rng(0).random((300, 20))
    families = sum(min(holm(dict(enumerate(row))).values()) < 0.05 for row in draws)
    assert families / 300 < 0.08
    assert (draws.min(axis=1) < 0.05).mean() > 0.5  # without the correction


def test_the_least_difference_is_found_as_often_as_promised():
    least = least_seen(deviation=2.0, seeds=5)
    assert least == pytest.approx(2.0 * 1.682, abs=2e-3)  # the effect size that tables of power give for five pairs
    generator = np.random.default_rng(0)
    differences = generator.normal(least, 2.0, (4000, 5))
    t = differences.mean(1) / (differences.std(1, ddof=1) / math.sqrt(5))
    assert (np.abs(t) > 2.776).mean() == pytest.approx(0.8, abs=0.02)
    assert least_seen(1.0, 1) == math.inf
    assert least_seen(0.0, 5) == 0.0
    assert least_seen(1.0, 20) < least_seen(1.0, 10) < least_seen(1.0, 5)
