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
        ("top1: 83", "top1: high", r"Card\.yaml: top1: should be a number from 0 to 100; got 'high'"),
        (
            "params: 1",
            "params: true",
            r"Card\.yaml: params: should be an integer from 1 to .*; got True",
        ),
        ("mean: [0, 0, 0]", "mean: [0, 0]", r"Card\.yaml: input\.mean: needs 3 values; got 2"),
        ("mean: [0, 0, 0]", "mean: [0, 0, a]", r"Card\.yaml: input\.mean: should be a number from 0 to 1; got 'a'"),
        ("input: {", "input: [{", r"Card\.yaml: line 8: not valid YAML"),
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
    with pytest.raises(RecipeError, match=r"no model named 'VGG_16'; did you mean 'VGG16'\?; see `ssld list models`"):
        cards.find_model("VGG_16")
    with pytest.raises(RecipeError, match=r"^resnet20: no training of it is published; take a name with a top-1 of"):
        cards.find_model("resnet20")


def test_every_published_training_has_a_name_of_its_own():
    claims = [claim.name for card in cards.all_students().values() for claim in card.published.values()]
    assert len(cards.models()) == len(claims) == 131
    assert {"MobileNetV3_large_x1_0_ssld", "MobileNetV3_large_x1_0_ssld_int8", "Fix_ResNet50_vd_ssld_v2"} <= set(claims)


def test_a_name_takes_from_the_card_what_its_claim_leaves_out():
    plain, fixed = cards.find_model("ResNet50_vd"), cards.find_model("Fix_ResNet50_vd_ssld_v2")
    assert (plain.input.size, plain.train_resolution, fixed.input.size, fixed.train_resolution) == (224, 224, 320, 320)
    assert (fixed.params, fixed.kind, fixed.arch) == (plain.params, "fix", "ResNet50_vd")
    assert fixed.macs > 2 * plain.macs
    assert plain.flops == 2 * plain.macs
    assert (plain.latency_ms.v100_fp32, fixed.latency_ms.v100_fp32) == (3.165, None)
    assert cards.find_model("ResNet50_vd_ssld").latency_ms == plain.latency_ms
    assert cards.find_model("ShuffleNetV2_x2_0").params < cards.find_student("ShuffleNetV2_x2_0").params


def test_the_notes_of_an_architecture_go_to_its_plain_training():
    plain, ssld = cards.find_model("HRNet_W18_C"), cards.find_model("HRNet_W18_C_ssld")
    assert "4.14G FLOPs" in plain.notes[0]
    assert "81.162" in ssld.notes[0]
    assert len(plain.notes) == len(ssld.notes) == 1
    assert not plain.notes[0].endswith("\n")


def test_fix_and_v2_are_evaluated_at_both_sizes_and_a_number_there_has_its_source():
    found = {name: [given.size for given in model.protocols] for name, model in cards.models().items()}
    assert (found["ResNet50_vd_ssld_v2"], found["Fix_ResNet50_vd_ssld_v2"]) == ([224, 320], [320, 224])
    assert {name for name, sizes in found.items() if len(sizes) > 1} == {
        "ResNet50_vd_ssld_v2",
        "Fix_ResNet50_vd_ssld_v2",
    }
    others = [at for model in cards.models().values() for at in model.claim.also_at.values()]
    assert all((at.top1 is None) == (at.source is None) for at in others)


def test_lists_follow_the_overview_and_smaller_networks_come_first():
    found = list(cards.models().values())
    every = [series for members in cards.FAMILIES.values() for series in members]
    assert list(dict.fromkeys(model.series for model in found)) == every
    sizes = [card.params for card in cards.all_students().values() if card.series == "densenet"]
    assert sizes == sorted(sizes)


def test_a_series_that_is_in_no_family_comes_last(tmp_path, monkeypatch):
    text = (shelf("students") / "ResNet18.yaml").read_text()
    for name, series in (("Aa", "another"), ("ResNet18", "resnet")):
        (tmp_path / f"{name}.yaml").write_text(
            text.replace("ResNet18", name).replace("series: resnet", f"series: {series}")
        )
    monkeypatch.setattr(cards, "shelf", lambda kind: tmp_path)
    assert list(cards.all_students()) == ["ResNet18", "Aa"]
    assert (cards.family("another"), cards.family("vgg"), cards.family("hrnet")) == ("Others", "Others", "HRNet")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  plain:", "  ssld_v3:", r"Card\.yaml: published: should be 'plain' or 'v2' or .*; got 'ssld_v3'"),
        (
            "      develop:",
            "      latest:",
            r"published\.plain\.weights: should be 'develop' or '2\.0' or 'static'; got 'latest'",
        ),
        (
            "    source:",
            '    revision: "1.0"\n    source:',
            r"published\.plain\.revision: should be '1\.x' or '2\.x'; got '1\.0'",
        ),
        ("t4_fp16: [", "t4_fp16: [1.5, ", r"printed\.latency_ms\.t4_fp16: needs 3 values; got 4"),
        ("t4_fp16: [", "t4_fp61: [", r"printed\.latency_ms\.t4_fp61: unknown key; did you mean 't4_fp16'\?"),
    ],
)
def test_a_student_card_that_does_not_hold_is_one_line_naming_file_and_key(tmp_path, old, new, message):
    text = (shelf("students") / "ResNet18.yaml").read_text()
    assert old in text
    with pytest.raises(RecipeError, match=message):
        cards.find_student(str(written(tmp_path, text.replace(old, new, 1))))


def test_a_latency_that_was_not_published_for_a_batch_is_null():
    assert cards.find_model("EfficientNetB6").latency_ms.t4_fp32 == (32.62402, None, None)


def test_every_teacher_that_a_claim_names_has_a_card():
    claims = [claim for card in cards.all_students().values() for claim in card.published.values()]
    assert {claim.teacher for claim in claims if claim.teacher} <= set(cards.all_teachers())


def test_every_recipe_that_a_claim_names_is_there():
    root = shelf("recipes").parent
    claims = [claim for card in cards.all_students().values() for claim in card.published.values()]
    assert [claim.recipe for claim in claims if claim.recipe and not (root / claim.recipe).is_file()] == []


def test_all_cards_are_read_in_a_moment():
    start = time.process_time()
    assert len(cards.models()) > 100
    cards.all_teachers()
    assert time.process_time() - start < 0.3


def test_reading_cards_imports_neither_paddle_nor_pydantic():
    code = "import sys; from ssld.config import cards; cards.models(); print({'paddle', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
