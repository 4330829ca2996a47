"""Which values `ssld tune` tries: around the recipe's own, each trial new ones, the same for the same recipe."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from ssld.config.search import PRIMES, axes_of, mirrored, trials_of
from ssld.errors import RecipeError
from ssld.losses import Loss, build_terms
from ssld.spec.ranges import Count, Factor, Range, Share, Text

PLACE = "stages.s.loss.t"
W, T = f"{PLACE}.weight", f"{PLACE}.temperature"


@dataclass(frozen=True)
class Any(Loss):
    """A loss with an option of every kind."""

    margin: Factor = 2.0
    none: Factor = 0.0
    share: Share = 0.5
    count: Count = 3
    near: Annotated[float, Range(least=1, most=3)] = 2.0
    form: Literal["a", "b", "c"] = "a"
    flag: bool = True
    maybe: Share | None = None
    tap: Text = "map"
    reads = property(lambda self: Loss)


def term(tree, kind="dkd"):
    return build_terms({kind: tree})[kind]


def own(**options):
    from ssld.losses.base import Reads

    Any.reads = Reads(teacher={"logits"})
    return build_terms({"any": options}, {"any": Any})["any"]


def trials(term, budget, *options):
    return trials_of(axes_of(term, PLACE, options), budget)


def test_the_first_trial_has_the_own_values_and_the_next_weights_are_it_times_powers_of_two():
    found = trials(term({"weight": 0.5, "temperature": 4.0, "beta": 2.0}), 8)
    assert found[0] == {W: 0.5, T: 4.0}
    assert [trial[W] for trial in found[1:]] == [0.5, 0.125, 2.0, 0.0625, 1.0, 0.25, 4.0]
    # 4 times 2 ** (3 share - 1.5), share the base-3 fractions 1/3, 2/3, 1/9, 4/9, 7/9, 2/9, 5/9, to three digits
    assert [trial[T] for trial in found[1:]] == [2.83, 5.66, 1.78, 3.56, 7.13, 2.24, 4.49]


def test_a_larger_budget_goes_on_where_a_smaller_one_ended_and_no_trial_comes_twice():
    searched = term({})
    assert trials(searched, 40)[:9] == trials(searched, 9)
    many = trials(searched, 200)
    assert len(many) == 200
    assert all(many.count(trial) == 1 for trial in many)
    assert all(1 / 16 <= trial[W] <= 16 for trial in many)
    assert min(trial[W] for trial in many) < 0.07
    assert max(trial[W] for trial in many) > 15


def test_a_weight_that_changes_is_multiplied_as_a_whole():
    found = trials(term({"weight": {"at": [[0, 0], [5, 0.5]], "per": "epoch"}}), 4)
    assert [trial[f"{W}.at"] for trial in found] == [[[0.0, 0.0], [5.0, weight]] for weight in (0.5, 0.5, 0.125, 2.0)]


def test_a_loss_without_a_temperature_is_searched_by_its_weight():
    assert trials(term({"weight": 1000.0}, "at"), 3) == [{W: 1000.0}, {W: 250.0}, {W: 4000.0}]


def test_options_are_searched_within_their_ranges_by_factors_from_end_to_end_or_one_by_one():
    names = ("margin", "share", "count", "near", "form", "flag")
    found = trials(own(), 60, *names)
    seen = {name: [trial[f"{PLACE}.{name}"] for trial in found] for name in names}
    assert all(0.5 <= value <= 8.0 for value in seen["margin"])
    assert max(seen["margin"]) > 7
    assert min(seen["share"]) < 0.05
    assert max(seen["share"]) > 0.95
    assert min(seen["count"]) == 1  # 3 / 4, rounded
    assert 11 <= max(seen["count"]) <= 12
    assert all(type(value) is int for value in seen["count"])
    assert all(1 <= value <= 3 for value in seen["near"])
    assert set(seen["form"]) == {"a", "b", "c"}
    assert set(seen["flag"]) == {False, True}
    assert len({tuple(trial) for trial in found}) == 1


def test_a_small_space_gives_each_trial_once():
    flag = [axis for axis in axes_of(own(), PLACE, ["flag"]) if axis.key.endswith("flag")]
    assert trials_of(flag, 9) == [{f"{PLACE}.flag": True}, {f"{PLACE}.flag": False}]


@pytest.mark.parametrize(
    ("tree", "option", "said"),
    [
        ({}, "margn", "--option margn: the loss any has no option of this name; did you mean 'margin'?"),
        (
            {},
            "temperature",
            "--option temperature: the loss any has no option of this name; its options: count, flag, ",
        ),
        ({}, "none", f"{PLACE}.none: is 0.0, and is searched by factors; give it a positive value with {PLACE}.none="),
        ({}, "maybe", f"{PLACE}.maybe: has no value to search around; give it one with {PLACE}.maybe=VALUE"),
        ({}, "tap", f"{PLACE}.tap: is neither a number nor a choice, and cannot be searched; leave it out"),
    ],
)
def test_what_cannot_be_searched_is_one_line(tree, option, said):
    with pytest.raises(RecipeError) as caught:
        trials(own(**tree), 2, option)
    assert str(caught.value).startswith(said)


def test_an_option_without_a_value_of_its_own_is_searched_once_it_has_one():
    found = trials(own(maybe=0.25), 20, "maybe")
    assert found[0][f"{PLACE}.maybe"] == 0.25
    assert max(trial[f"{PLACE}.maybe"] for trial in found) > 0.9


def test_a_weight_of_nothing_is_one_line():
    two = build_terms({"dkd": {"weight": 0}, "kl": {}})["dkd"]
    with pytest.raises(
        RecipeError, match=rf"^{PLACE}\.weight: is 0, and is searched by factors; give it a value with "
    ):
        trials(two, 2)


def test_numbers_are_mirrored_at_the_point():
    assert [mirrored(number, 2) for number in range(1, 8)] == [1 / 2, 1 / 4, 3 / 4, 1 / 8, 5 / 8, 3 / 8, 7 / 8]
    assert [round(9 * mirrored(number, 3)) for number in range(1, 9)] == [3, 6, 1, 4, 7, 2, 5, 8]
    assert all(mirrored(base**9 - 1, base) < 1 for base in PRIMES)
