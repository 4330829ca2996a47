"""The `loss:` mapping of a recipe: names, options, weights. The values of the losses are in tests/parity."""

import pytest

from ssld.errors import RecipeError
from ssld.losses import LOSSES, Objective, check_terms


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"sslt": {}}, r"^here: no loss named 'sslt'; did you mean 'ssld'\?$"),
        ({"kl": {"temprature": 4}}, r"^here\.kl: no option 'temprature'; did you mean 'temperature'\?$"),
        ({"kl": {"temperature": "hot"}}, r"^here\.kl\.temperature: 'hot' is not a float$"),
        ({"kl": {"temperature": True}}, r"^here\.kl\.temperature: True is not a float$"),
        ({"kl": {"weight": float("nan")}}, r"^here\.kl\.weight: nan is not finite"),
        ({"ce": {"unlabelled": "ignor"}}, r"^here\.ce\.unlabelled: 'ignor' is none of error, ignore; .* 'ignore'\?$"),
        ({"ce": {"weight": -1}}, r"^here\.ce\.weight: -1 is negative"),
        ({"ce": {"weight": 0}, "kl": {"weight": 0.0}}, "^here: every weight is 0"),
        ({"ssld": None}, r"^here\.ssld: None is not a mapping; write ssld: \{weight: 1\.0\}$"),
        ({}, "^here: no terms"),
    ],
)
def test_a_wrong_term_is_one_line_that_helps(terms, message):
    with pytest.raises(RecipeError, match=message) as caught:
        check_terms(terms, where="here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("terms", [{"kl": {"temperature": 0}}, {"ce": {"smoothing": 1.0}}, {"ce": {"smoothing": -0.1}}])
def test_an_option_out_of_range_is_refused(terms):
    with pytest.raises(RecipeError, match=r"^loss '(kl|ce)': (temperature|smoothing) .* is not"):
        Objective(terms)


@pytest.mark.parametrize("name", LOSSES.names())
def test_every_loss_follows_the_contract(name):
    loss = LOSSES.build(name)
    assert isinstance(loss.needs_teacher, bool)
    assert isinstance(loss.needs_label, bool)
    assert len(LOSSES.summary(name)) > 20
    assert "weight" not in LOSSES.options(name), "weight belongs to the sum"
    check_terms({name: {option: getattr(loss, option) for option in LOSSES.options(name)}})
