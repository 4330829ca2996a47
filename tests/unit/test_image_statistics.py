"""What the images of one evaluation allow to conclude: intervals and a test, against numbers worked out by hand."""

import numpy as np
import pytest

from ssld.report.image_statistics import accuracy, gap, is_clear


def right(count, n):
    return np.arange(n) < count


def pair(both, ours, theirs, neither):
    """Two networks by the four counts of images."""
    cells = [(True, True)] * both + [(True, False)] * ours + [(False, True)] * theirs + [(False, False)] * neither
    return np.array(cells).T


def test_an_accuracy_has_wilsons_interval():
    z2 = 1.959964**2
    none = accuracy(right(0, 10))
    assert (none.top1, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(100 * z2 / (10 + z2), abs=1e-3)  # the formula of Wilson for no success
    half = accuracy(right(50, 100))
    reach = 100 * 1.959964 * np.sqrt(0.25 / 100 + z2 / 40000) / (1 + z2 / 100)
    assert (half.low, half.high) == pytest.approx((50 - reach, 50 + reach), abs=1e-3)


def test_a_difference_has_the_interval_of_the_four_counts_and_half_and_the_exact_test():
    found = gap(*pair(70, 10, 2, 18))
    assert (found.points, found.only_ours, found.only_theirs) == (8.0, 10, 2)
    assert found.p == pytest.approx(2 * (1 + 12 + 66) / 4096)  # of 12 flips of a coin 2 or fewer, both ways
    mean, reach = 8 / 102, 1.959964 * np.sqrt((13 / 102 - (8 / 102) ** 2) / 102)
    assert (found.low, found.high) == pytest.approx((100 * (mean - reach), 100 * (mean + reach)))
    other = gap(*pair(70, 2, 10, 18))
    assert (other.points, other.low, other.high) == (-8.0, -found.high, -found.low)
    assert other.p == found.p


def test_networks_that_agree_differ_by_nothing_but_not_for_certain():
    found = gap(*pair(8, 0, 0, 2))
    assert (found.points, found.p) == (0.0, 1.0)
    assert found.low == -found.high < 0


def test_the_best_of_many_must_be_better_by_more():
    assert is_clear(0.04, 1)
    assert not is_clear(0.04, 7)
    assert is_clear(0.007, 7)
