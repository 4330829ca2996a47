"""recipes/methods: a recipe for each method on digits, and on ImageNet those whose numbers are published."""

import csv
import os
import runpy
from pathlib import Path

import pytest

from ssld.config import parse, recipe
from ssld.losses.overview import methods

ROOT = Path(__file__).parents[2]
METHODS = {method.name: method for method in methods()}
DIGITS = {file.stem: file for file in parse.recipes() if file.parent.name == "methods"}
IMAGENET = {file.stem: file for file in parse.recipes() if file.parent.parts[-2:] == ("methods", "imagenet")}
NONE = {
    "ce": "it is in every recipe",
    "bce": "it learns from labels alone; the recipe of VanillaKD has it",
    "vitkd": "its networks are transformers, which are of one's own",
    "paraphrase": "it is the first stage of ft",
}
WAYS = {  # recipes that are ways to use a method
    "simkd_head": "simkd",
    "deit_head": "soft_ce",
    "funmatch": "kl",
    "mean_of_probabilities": "kl",
    "vanillakd": "kl",
    "fixmatch": "soft_ce",
    "noisy_student": "soft_ce",
}
PEERS = {name: file for name, file in IMAGENET.items() if recipe.load(file).stages["distill"].peers}
PAIRS = {"resnet18": ("ResNet34", "ResNet18"), "mobilenetv1": ("ResNet50", "MobileNetV1")}


def used(plan):
    """The kinds of the losses of all stages, and their optimisers."""
    kinds = {term.kind for stage in plan.stages.values() for term in stage.loss.values() if term.weight}
    return kinds | {stage.optim.algorithm for stage in plan.stages.values()}


def test_every_method_has_a_recipe_or_a_reason():
    assert DIGITS.keys() - WAYS.keys() == METHODS.keys() - NONE.keys()


@pytest.mark.parametrize("name", DIGITS)
def test_the_recipe_of_a_method_uses_it_on_the_digits(name):
    plan = recipe.load(DIGITS[name])
    assert WAYS.get(name, name) in used(plan)
    assert (plan.dataset, plan.claim) == ("digits", None)
    assert f"ssld run recipes/methods/{name}.yaml" in DIGITS[name].read_text(encoding="utf-8")
    if plan.teacher and plan.network_of("teacher").arch == "ResNet18_vd":  # so runs side by side train it once
        assert plan.stages["teach"] == recipe.load(DIGITS["kl"]).stages["teach"]


@pytest.mark.parametrize("name", [name for name in IMAGENET if not name.startswith(tuple(WAYS)) and name not in PEERS])
def test_a_recipe_on_imagenet_claims_a_number_that_was_published_for_its_pair(name):
    plan, (method, _, pair) = recipe.load(IMAGENET[name]), name.rpartition("_")
    assert method in used(plan)
    assert (plan.teacher.card, plan.student.arch) == PAIRS[pair]
    with (ROOT / "docs/data/published.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] in METHODS[method].ledger]
    numbers = {
        float(row["top1"])
        for row in rows
        if (row["data"], row["teacher"], row["student"]) == ("ImageNet", *PAIRS[pair])
    }
    if plan.claim is None:
        assert (
            "prints no result" in (text := IMAGENET[name].read_text(encoding="utf-8")) or "no result is printed" in text
        )
        assert not numbers
    else:
        assert plan.claim in numbers
        assert f"{plan.claim:.2f}" in plan.title


def test_peers_on_imagenet_claim_nothing_since_what_is_published_is_of_another_network():
    assert PEERS.keys() == {"dml_mobilenetv1", "udml_mobilenetv1"}
    with (ROOT / "docs/data/published.csv").open(encoding="utf-8", newline="") as file:
        published = {
            row["method"]: (row["student"], row["top1"]) for row in csv.DictReader(file) if row["data"] == "ImageNet"
        }
    for name, file in PEERS.items():
        plan, (method, _, _) = recipe.load(file), name.rpartition("_")
        assert method in used(plan)
        assert plan.teacher is plan.claim is None
        assert {peer.arch for peer in plan.stages["distill"].peers.values()} == {plan.student.arch}
        text = file.read_text(encoding="utf-8")
        assert all(word in text for word in published[method.upper()])


@pytest.fixture(scope="module")
def benchmark():
    """benchmarks/methods.py, which sets the threads of its own process when it is loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", ""))  # it is set back afterwards
        return runpy.run_path(str(ROOT / "benchmarks/methods.py"))


@pytest.mark.parametrize("name", [name for name in DIGITS if name in METHODS])
def test_what_a_step_of_a_method_costs_can_be_measured_beside_plain_distillation(name, benchmark):
    plan = benchmark["planned"](name, 32)
    plain = benchmark["distilled"](plan)
    stage, beside = plan.stages["distill"], plain.stages["distill"]
    assert plain.teachers_of("distill"), "plain distillation has a teacher, also where the method has none"
    assert {term.kind for term in beside.loss.values()} == {"ce", "kl"}
    assert not beside.peers
    assert (beside.data.size, stage.data.size) == (32, 32)
    assert plain.network_of(beside.network) == plan.network_of(stage.network)
    if name == "udml":  # its networks are of one architecture
        assert {peer.arch for peer in stage.peers.values()} == {plan.student.arch}
