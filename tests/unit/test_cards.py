"""Cards are read, checked and found by name, without Paddle."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssld.config import cards
from ssld.errors import RecipeError
from ssld.paths import shelf

GOOD = """\
arch: ResNet50_vd
top1: 83
source: a page
params: 1
macs: 2
weights: {url: https://example.org/a.pdparams, path: weights/a.pdparams}
input: {size: 224, resize: 256, mean: [0, 0, 0], std: [1, 1, 1]}
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "Card.yaml"
    file.write_text(text)
    return file


def test_a_card_is_read_as_typed_values(tmp_path):
    card = cards.find_teacher(str(written(tmp_path, GOOD)))
    assert card.top1 == 83.0
    assert isinstance(card.top1, float)
    assert card.input.mean == (0.0, 0.0, 0.0)
    assert card.weights.sha256 is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("top1: 83", "top1: 83\ntop_5: 96", r"Card\.yaml: top_5: unknown key; did you mean 'top5'\?"),
        ("resize: 256", "rezise: 256", r"Card\.yaml: input\.rezise: unknown key; did you mean 'resize'\?"),
        ("source: a page\n", "", r"Card\.yaml: source: this key is required; add it"),
        ("path: weights/a.pdparams", "sha256: null", r"Card\.yaml: weights\.path: this key is required; add it"),
        ("top1: 83", "top1: high", r"Card\.yaml: top1: should be float; got 'high'"),
        ("params: 1", "params: true", r"Card\.yaml: params: should be int; got True"),
        ("mean: [0, 0, 0]", "mean: [0, 0]", r"Card\.yaml: input\.mean: needs 3 values; got 2"),
        ("mean: [0, 0, 0]", "mean: [0, 0, a]", r"Card\.yaml: input\.mean: should be float; got 'a'"),
        ("input: {", "input: [{", r"Card\.yaml: not valid YAML"),
    ],
)
def test_a_card_that_does_not_hold_is_one_line_naming_file_and_key(tmp_path, old, new, message):
    with pytest.raises(RecipeError, match=message) as caught:
        cards.find_teacher(str(written(tmp_path, GOOD.replace(old, new))))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match=r"Nobody\.yaml: cannot be read"):
        cards.find_teacher(str(tmp_path / "Nobody.yaml"))


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(
        RecipeError, match=r"no card named 'ResNet50_vd_sld' in teachers/; did you mean 'ResNet50_vd_ssld'\?"
    ):
        cards.find_teacher("ResNet50_vd_sld")
    with pytest.raises(RecipeError, match=r"did you mean 'MobileNetV3_large_x1_0'\?"):
        cards.find_student("MobileNetV3_large_x10")


def test_the_published_trainings_have_names_of_their_own():
    names = [row["name"] for row in cards.models()]
    assert len(set(names)) == len(names) == 36
    assert {"MobileNetV3_large_x1_0_ssld", "MobileNetV3_large_x1_0_ssld_int8", "Fix_ResNet50_vd_ssld_v2"} <= set(names)


def test_a_row_shows_the_resolution_of_its_training():
    rows = {row["name"]: row for row in cards.models()}
    assert (rows["ResNet50_vd"]["size"], rows["Fix_ResNet50_vd_ssld_v2"]["size"]) == (224, 320)
    assert rows["Fix_ResNet50_vd_ssld_v2"]["macs"] > 2 * rows["ResNet50_vd"]["macs"]
    assert rows["ResNet50_vd_ssld"]["top1"] == 82.39


def test_every_teacher_that_a_claim_names_has_a_card():
    claims = [claim for card in cards.all_students().values() for claim in card.published.values()]
    assert {claim.teacher for claim in claims if claim.teacher} <= set(cards.all_teachers())


def test_every_recipe_that_a_claim_names_is_there():
    root = shelf("recipes").parent
    claims = [claim for card in cards.all_students().values() for claim in card.published.values()]
    assert [claim.recipe for claim in claims if claim.recipe and not (root / claim.recipe).is_file()] == []


def test_a_claim_about_a_flavour_of_weights_names_a_known_flavour():
    claims = [claim for card in cards.all_students().values() for claim in card.published.values()]
    assert {flavour for claim in claims for flavour in claim.weights} == {"develop", "2.0", "static"}


def test_all_cards_are_read_in_a_moment():
    start = time.perf_counter()
    cards.all_students()
    cards.all_teachers()
    assert time.perf_counter() - start < 0.15


def test_reading_cards_imports_neither_paddle_nor_pydantic():
    code = "import sys; from ssld.config import cards; cards.models(); print({'paddle', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
