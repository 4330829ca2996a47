"""These tests ask experiments/REPORT.md for published beside measured numbers, from cards and results alone."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ssld import cli
from ssld.config import cards, recipe
from ssld.errors import RecipeError, RunError
from ssld.report import ledger, published_and_measured
from tests.unit.fake_run import make_result

NAME = "ResNet50_vd_ssld"
RECIPE = "resnet50_vd_ssld"
ALL = cards.models()
FEW = (NAME, "ResNet50_vd_ssld_v2", "Fix_ResNet50_vd_ssld_v2", "ResNet50_vd")


@pytest.fixture(autouse=True)
def few_cards(monkeypatch):
    """Keep a few cards: reading all of them and their recipes takes half a second a page."""
    monkeypatch.setattr(cards, "models", lambda: {name: ALL[name] for name in FEW})


@pytest.fixture
def all_cards(few_cards, monkeypatch):
    monkeypatch.setattr(cards, "models", lambda: ALL)


def rows(text: str) -> list[dict[str, str]]:
    """Return the rows of all tables."""
    lines: list[dict[str, str]] = []
    head: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(" | ")] if line.startswith("| ") else []
        cells = [cell.strip("| ") for cell in cells]
        if cells and cells[0] == "name":
            head = cells
        elif cells and not cells[0].startswith("---"):
            lines.append(dict(zip(head, cells, strict=True)))
    return lines


def named(experiments: Path, name: str) -> list[dict[str, str]]:
    return [row for row in rows(published_and_measured.page(experiments)) if row["name"] == name]


def evaluation(name: str, size: int = 224, resize: int = 256, top1: float = 82.3, **changes) -> dict:
    network_input = cards.find_model(name).input
    shape = {"size": size, "resize": resize, "mean": list(network_input.mean), "std": list(network_input.std)}
    about = {"kind": "evaluation", "model": name, "digest": f"{size}{'ab' * 32}", "scope": "full", "complete": True}
    weights = {"published": True, "file": f"{name}.pdparams"}
    measured = {"top1": top1, "input": shape, "weights": weights, "data": {"images": 50_000}, "hardware": "A processor"}
    return {**about, **measured, **changes}


def run(seed: int, top1: float, *overrides: str, steps: int | None = None) -> dict:
    """Return a result of the card's recipe on all of ImageNet, with the keys that the ledger reads."""
    plan = recipe.load(f"recipes/{RECIPE}.yaml", [f"seed={seed}", *overrides])
    spe = {name: 1_281_167 // stage.data.batch for name, stage in plan.stages.items()}
    stages = {name: {"steps": steps or round(stage.epochs * spe[name])} for name, stage in plan.stages.items()}
    about = {"recipe": RECIPE, "digest": plan.digest, "group": plan.group, "plan": recipe.plan_tree(plan)}
    size = {"student": {"arch": "ResNet50_vd", "size": 224}}
    return {
        **make_result(seed, top1=top1),
        **about,
        **size,
        "stages": stages,
        "images": {"val": 50_000, "imagenet": True},
    }


def test_every_published_training_has_a_row_and_what_was_not_run_says_so(all_cards, tmp_path):
    text = published_and_measured.page(tmp_path)
    lines = rows(text)
    assert {row["name"] for row in lines} == set(cards.models())
    for row in lines:
        empty = {key: row[key] for key in ("measured, %", "delta", "scope", "seeds", "hardware", "digest")}
        assert set(empty.values()) == {"not run"}
    assert f"0 of these {len(lines)} rows" in text


def test_the_distilled_ones_come_first_with_their_recipe(all_cards, tmp_path):
    text = published_and_measured.page(tmp_path)
    first, second = text.split("## Not distilled")
    assert f"| {NAME} | `recipes/{RECIPE}.yaml` | 224 | 82.39 | not run |" in first
    assert {row["name"] for row in rows(first)} >= {"ResNet34_vd_ssld", "ResNet50_vd_v2", "Fix_ResNet50_vd_ssld_v2"}
    assert not [row["name"] for row in rows(second) if "ssld" in row["name"]]


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        (NAME, [("224", "82.39")]),
        ("ResNet50_vd_ssld_v2", [("224", "83.00"), ("320", "83.70")]),
        ("Fix_ResNet50_vd_ssld_v2", [("320", "84.00"), ("224", "none published")]),
    ],
)
def test_fix_and_v2_have_a_row_at_both_sizes(name, inputs, tmp_path):
    lines = [row for row in named(tmp_path, name) if row["by"] == "published weights"]
    assert [(row["input, px"], row["published, %"]) for row in lines] == inputs


def test_an_evaluation_stands_in_the_row_of_its_input(tmp_path):
    ledger.record(evaluation("ResNet50_vd_ssld_v2", 320, 320, 83.5), tmp_path)
    at_224, at_320 = named(tmp_path, "ResNet50_vd_ssld_v2")[:2]
    assert at_224["measured, %"] == "not run"
    assert list(at_320.values())[1:] == [
        "published weights", "320", "83.70", "83.50", "-0.20", "full", "-", "A processor", "`320ababababa`"
    ]  # fmt: skip
    assert "1 of these" in published_and_measured.page(tmp_path)


def test_other_weights_fewer_images_and_an_input_that_no_card_has_are_told(tmp_path):
    weights, few = {"published": False, "file": "mine.safetensors"}, {"images": 1234}
    ledger.record(evaluation(NAME, 288, 288, weights=weights, scope="reduced", data=few), tmp_path)
    first, second, _ = named(tmp_path, NAME)
    assert first["measured, %"] == "not run"
    assert list(second.values())[1:7] == [
        "weights of mine.safetensors", "288", "none published", "82.30", "-", "reduced: 1,234 images"
    ]  # fmt: skip


def test_the_seeds_of_a_recipe_are_one_row_and_another_plan_is_another_with_what_it_changed(tmp_path):
    for seed, top1 in enumerate((82.0, 82.2, 82.4)):
        ledger.record(run(seed, top1), tmp_path)
    ledger.record(run(0, 80.0, "stages.distill.epochs=120"), tmp_path)
    _, full, reduced = named(tmp_path, NAME)
    group = run(0, 82.0)["group"][:12]
    assert list(full.values())[1:] == [
        f"`recipes/{RECIPE}.yaml`", "224", "82.39", "82.20 ± 0.20", "-0.19", "full", "0, 1, 2",
        "A processor with a name, 2 cores", f"`{group}`",
    ]  # fmt: skip
    assert reduced["by"] == f"`recipes/{RECIPE}.yaml` with stages.distill.epochs 360.0 -> 120.0"
    assert (reduced["measured, %"], reduced["scope"], reduced["seeds"]) == ("80.00", "reduced", "0")


def test_a_run_whose_images_are_not_the_published_ones_stands_beside_the_claim_without_a_difference(tmp_path):
    """Its list is called imagenet/val_list.txt and has 50,000 lines, but other images were in it."""
    ledger.record({**run(0, 82.0), "images": {"val": 50_000, "imagenet": False}}, tmp_path)
    row = named(tmp_path, NAME)[1]
    assert (row["published, %"], row["measured, %"], row["delta"], row["scope"]) == ("82.39", "82.00", "-", "reduced")


def test_an_evaluation_on_a_part_of_the_images_has_no_difference(tmp_path):
    ledger.record(evaluation(NAME, scope="reduced", data={"images": 1234}), tmp_path)
    row = named(tmp_path, NAME)[0]
    assert (row["published, %"], row["measured, %"], row["delta"]) == ("82.39", "82.30", "-")


def test_a_recipe_on_fewer_images_than_the_claim_is_reduced(tmp_path):
    ledger.record(run(0, 70.0, steps=1000), tmp_path)
    assert named(tmp_path, NAME)[1]["scope"] == "reduced"


def test_recipes_without_a_claim_are_listed_after_the_published_ones(tmp_path):
    plan = recipe.load("recipes/quickstart.yaml")
    about = {"group": plan.group, "plan": recipe.plan_tree(plan), "images": {"val": 600}}
    ledger.record({**make_result(0), **about}, tmp_path)
    (row,) = named(tmp_path, "quickstart")
    assert (row["by"], row["published, %"], row["delta"]) == ("`recipes/quickstart.yaml`", "none published", "-")
    (tmp_path / "quickstart.md").touch()
    assert rows(published_and_measured.page(tmp_path))[-1]["name"] == "[quickstart](quickstart.md)"


def test_the_page_does_not_depend_on_the_order_of_recording(tmp_path):
    results = [evaluation(NAME), run(0, 82.0), run(1, 82.1), evaluation("ResNet50_vd")]
    for folder, order in (("a", results), ("b", results[::-1])):
        for result in order:
            ledger.record(result, tmp_path / folder)
    assert published_and_measured.page(tmp_path / "a") == published_and_measured.page(tmp_path / "b")


def test_a_page_that_is_stale_or_missing_ends_with_one_line(tmp_path, capsys):
    words = ["report", "ledger", "--out", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"^ssld report: .*REPORT.md: is not there; `ssld report ledger --out"):
        cli.main([*words, "--check"])
    cli.main(words)
    assert json.loads(capsys.readouterr().out) == {"ledger": str(tmp_path / "REPORT.md")}
    cli.main([*words, "--check"])
    ledger.record(evaluation(NAME), tmp_path)
    before = (tmp_path / "REPORT.md").read_bytes()
    with pytest.raises(SystemExit, match=r"REPORT.md: is not what the cards and .*results say now; `ssld report"):
        cli.main([*words, "--check"])
    assert (tmp_path / "REPORT.md").read_bytes() == before


def test_what_is_no_result_is_named(tmp_path):
    file = ledger.record(run(0, 82.0), tmp_path)
    for content, message in (
        ("{", "damaged (no JSON: Expecting property name"),
        ('{"kind": "evaluation"}', "is no result (no 'model'"),
        ('{"recipe": "a"}', "is no result (no 'seed'"),
    ):
        file.write_text(content)
        with pytest.raises(RunError, match=re.escape(f"{file.name}: {message}")):
            published_and_measured.page(tmp_path)


def test_a_card_that_names_a_recipe_that_there_is_not_is_named(tmp_path, monkeypatch):
    model = cards.find_model(NAME)
    broken = replace(model, claim=replace(model.claim, recipe="recipes/gone.yaml"))
    monkeypatch.setattr(cards, "models", lambda: {NAME: broken})
    with pytest.raises(RecipeError, match=r"recipes/gone.yaml: no such recipe"):
        published_and_measured.page(tmp_path)
