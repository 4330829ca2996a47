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
CIFAR = {file.stem: file for file in parse.recipes() if file.parent.parts[-2:] == ("methods", "cifar100")}
CIFAR_PAIRS = {  # end of a recipe's name: teacher, student, and the student's name in the ledger
    "resnet20": ("resnet56", "resnet20", "resnet20"),
    "resnet32": ("resnet110", "resnet32", "resnet32"),
    "resnet8x4": ("resnet32x4", "resnet8x4", "resnet8x4"),
    "wrn_16_2": ("wrn_40_2", "wrn_16_2", "wrn_16_2"),
    "vgg8": ("vgg13", "vgg8", "vgg8"),
    "shufflenetv1": ("resnet32x4", "ShuffleNetV1_cifar", "ShuffleNetV1"),
    "mobilenetv2": ("vgg13", "MobileNetV2_cifar_x0_5", "MobileNetV2"),
}
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


def published(data, teacher, student, names):
    """The numbers of the ledger for a pair and a method, without their deviations."""
    with (ROOT / "docs/data/published.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] in names]
    rows = [row for row in rows if (row["data"], row["teacher"], row["student"]) == (data, teacher, student)]
    return {float(row["top1"].partition("±")[0]) for row in rows if "-" not in row["top1"]}


def test_each_pair_of_cifar_100_has_plain_distillation_a_logit_and_a_contrastive_method():
    assert {f"{method}_{pair}" for method in ("kl", "dkd", "crd") for pair in CIFAR_PAIRS} <= CIFAR.keys()


@pytest.mark.parametrize("name", CIFAR)
def test_a_recipe_on_cifar_100_has_its_protocol_and_claims_a_number_that_was_published_for_its_pair(name):
    pair = next(pair for pair in CIFAR_PAIRS if name.endswith(f"_{pair}"))
    plan, method = recipe.load(CIFAR[name]), name.removesuffix(f"_{pair}")
    teacher, student, in_ledger = CIFAR_PAIRS[pair]
    assert (plan.network_of("teacher").arch, plan.student.arch) == (teacher, student)
    assert WAYS.get(method, method) in used(plan)
    for stage in plan.stages.values():
        low = stage.network == "student" and pair in ("shufflenetv1", "mobilenetv2")
        assert (stage.epochs, stage.data.batch, stage.optim.lr) == (240, 64, 0.01 if low else 0.05)
        assert (stage.optim.milestones, stage.optim.gamma, stage.optim.weight_decay) == ((150, 180, 210), 0.1, 5e-4)
        assert (stage.data.size, stage.data.resize, stage.data.augment.pad, stage.data.augment.area) == (
            32,
            32,
            4,
            (1, 1),
        )
        assert (stage.data.train, stage.data.val) == (
            ("cifar100/train_all.txt", "cifar100/val.txt"),
            "cifar100/test.txt",
        )
    assert plan.claim in published("CIFAR-100", teacher, in_ledger, METHODS[WAYS.get(method, method)].ledger)
    assert f"{plan.claim:.2f}" in plan.title
    assert plan.stages["teach"] == recipe.load(CIFAR[f"kl_{pair}"]).stages["teach"]  # runs side by side train it once


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
