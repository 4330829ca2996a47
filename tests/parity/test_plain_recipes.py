"""recipes/plain against data/train_recipes.csv: what PaddleClas 1.x published to train each of 104 models with.

The table was read from release/static:configs, a row a file. What a recipe says otherwise stands in SLIPS and MISSING.
"""

import csv
import json
import re
from collections import Counter
from functools import reduce
from pathlib import Path

import pytest
import yaml

from ssld.config import cards, parse, recipe
from ssld.config.keys import plain
from ssld.losses import build_terms

DATA = Path(__file__).parent / "data" / "train_recipes.csv"
ROWS = {row["model"]: row for row in csv.DictReader(DATA.read_text(encoding="utf-8").splitlines())}
SHELF = parse.shelf("recipes")
PLANS = {plan.student.arch: plan for plan in map(recipe.load, sorted((SHELF / "plain").glob("*.yaml")))}
SCHEDULES = {
    "Cosine": "cosine_by_epoch",
    "CosineWarmup": "cosine",
    "Piecewise": "step",
    "ExponentialWarmup": "exponential",
}
# The code of 1.x exempts the batch norms of these series from the decay (ppcls/modeling/architectures).
UNDECAYED = {"mobilenet_v3", "ghostnet", "resnest", "xception_deeplab"}
# (model, column) -> what the recipe has instead, and says why.
SLIPS = {
    ("Xception71", "architecture_in_config"): "Xception71",
    ("ResNeXt50_64x4d", "batch_size_global"): "256",
    ("ResNet50_ACNet_deploy", "architecture_in_config"): "ResNet50_ACNet_deploy",
}
MISSING = {"ResNet50_ACNet_deploy"}  # its recipe trains another network than the published one, and claims nothing
each_model = pytest.mark.parametrize("model", ROWS)


def published(model, column):
    return SLIPS.get((model, column), ROWS[model][column])


def listed(text):
    """The operators of a column, `[{"MixupOperator": {"alpha": 0.2}}]`, as one mapping."""
    return {name: options for item in json.loads(text or "[]") for name, options in item.items()}


def train(model):
    (stage,) = PLANS[model].stages.values()
    return stage


def test_there_is_a_recipe_for_every_published_configuration_and_no_other():
    assert set(PLANS) == set(ROWS)
    assert len(ROWS) == 104


@each_model
def test_a_recipe_is_named_by_its_architecture_and_has_one_stage(model):
    plan = PLANS[model]
    assert (plan.name, plan.student.arch) == (model.lower(), published(model, "architecture_in_config"))
    assert (list(plan.stages), plan.teacher, plan.classes) == (["train"], None, 1000)


@each_model
def test_epochs_batch_and_optimizer_are_the_published_ones(model):
    stage, row = train(model), ROWS[model]
    assert stage.epochs == int(row["epochs"])
    assert stage.data.batch == int(published(model, "batch_size_global"))
    optim = stage.optim
    assert optim.algorithm == row["optimizer"].lower()
    assert (optim.lr, optim.momentum, optim.weight_decay) == tuple(
        float(row[name]) for name in ("lr", "momentum", "l2_decay")
    )
    assert optim.ema == float(row["ema_decay"] or 0)
    assert optim.decay_all == (cards.find_student(model).series not in UNDECAYED)
    options = json.loads(row["optimizer_params"] or "{}")
    assert {name: getattr(optim, name) for name in options} == options
    assert (optim.clip_norm, optim.accumulate, optim.nesterov, optim.amp) == (0, 1, False, "off")


@each_model
def test_the_schedule_is_the_published_one(model):
    optim, row = train(model).optim, ROWS[model]
    given = json.loads(row["lr_params"] or "{}")
    assert optim.schedule == SCHEDULES[row["lr_function"]]
    assert optim.warmup_epochs == float(row["warmup_epochs"]) == given.get("warmup_epoch", float(row["warmup_epochs"]))
    if optim.schedule == "step":
        assert (list(optim.milestones), optim.gamma) == (given["decay_epochs"], given["gamma"])
    if optim.schedule == "exponential":  # defaults of its class in 1.x, ppcls/optimizer/learning_rate.py
        assert (optim.decay_epochs, optim.gamma) == (2.4, 0.97)


@each_model
def test_smoothing_mixing_and_crops_are_the_published_ones(model):
    stage, row = train(model), ROWS[model]
    smoothing = row["label_smoothing"].replace("off(-1)", "") or 0
    assert stage.loss == build_terms({"ce": {"smoothing": float(smoothing)}})
    mix, crop, augment = listed(row["mix_ops"]), json.loads(row["train_crop"]), stage.data.augment
    assert augment.mixup == mix.get("MixupOperator", {"alpha": 0})["alpha"]
    assert augment.cutmix == mix.get("CutmixOperator", {"alpha": 0})["alpha"]
    assert augment.auto == ("autoaugment" if row["extra_aug"] == '[{"AutoAugment": null}]' else "none")
    assert list(augment.area) == crop.get("scale", [0.08, 1.0])
    assert list(augment.ratio) == crop.get("ratio", [3 / 4, 4 / 3])
    assert (augment.flip, augment.erase) == (0.5, 0)


@each_model
def test_images_are_of_the_published_size_and_evaluated_as_the_card_says(model):
    data, row, given = train(model).data, ROWS[model], cards.find_student(model).input
    crop, resize = json.loads(row["train_crop"]), json.loads(row["eval_resize_short"])
    cubic = isinstance(resize, dict) and resize["interpolation"] == crop["interpolation"] == 2
    assert data.size == crop["size"]
    assert data.crop == int(row["eval_crop"]) == given.size
    assert data.resize == (resize["resize_short"] if isinstance(resize, dict) else resize) == given.resize
    assert data.interpolation == ("cubic" if cubic else "linear")
    assert list(data.mean) == json.loads(row["normalize_mean"]) == list(given.mean)
    assert list(data.std) == json.loads(row["normalize_std"]) == list(given.std)


@each_model
def test_recipe_and_card_name_each_other_and_the_same_top_1(model):
    claim = cards.find_student(model).published["plain"]
    file = SHELF / "plain" / f"{model.lower()}.yaml"
    if model in MISSING:
        assert (PLANS[model].claim, claim.recipe) == (None, None)
        return
    assert claim.recipe == f"recipes/plain/{file.name}"
    assert PLANS[model].claim == claim.top1
    assert PLANS[model].title == f"{model}: published {claim.top1:.2f}"


@each_model
def test_a_file_opens_with_its_claim_its_command_and_its_source(model):
    file = SHELF / "plain" / f"{model.lower()}.yaml"
    header = file.read_text(encoding="utf-8").partition("\nbase: ")[0]
    top1 = cards.find_student(model).published["plain"].top1
    claim = "" if model in MISSING else f": {top1:.2f} top-1 (published)"
    assert header.startswith(f"# {model} from labels alone{claim}.\n#\n#   ssld run recipes/plain/{file.name} --ranks")
    assert f"PaddleClas release/static:{ROWS[model]['config']}. Not run by this project." in header
    assert all(line.startswith("#") for line in header.splitlines() if line)


@pytest.mark.parametrize(
    ("model", "word"),
    [
        ("Xception71", "names Xception65"),
        ("ResNeXt50_64x4d", "batch of 32"),
        ("ResNet50_ACNet_deploy", "ResNet50_ACNet,"),
    ],
)
def test_what_a_recipe_has_otherwise_than_its_source_is_said_in_its_file(model, word):
    assert {name for name, _ in SLIPS} == {"Xception71", "ResNeXt50_64x4d", "ResNet50_ACNet_deploy"}
    assert word in (SHELF / "plain" / f"{model.lower()}.yaml").read_text(encoding="utf-8").partition("\nbase: ")[0]


def test_a_base_counts_the_recipes_that_stand_on_it():
    used = Counter(
        re.search(r"^base: \.\./_base/(\w+)\.yaml$", file.read_text(), flags=re.MULTILINE)[1]
        for file in (SHELF / "plain").glob("*.yaml")
    )
    assert set(used) == {file.stem for file in (SHELF / "_base").glob("plain_*.yaml")}
    for base, number in used.items():
        assert f"({number} of its 104 configurations)" in (SHELF / "_base" / f"{base}.yaml").read_text()


def row_of_tricks(condition):
    """A row of docs/tricks.md: how many recipes have `key: value`, and which models, or how many of which series."""
    key, _, value = condition.partition(": ")
    models = [
        model
        for model in cards.all_students()
        if model in PLANS and reduce(dict.__getitem__, key.split("."), plain(train(model))) == yaml.safe_load(value)
    ]
    series = Counter(cards.find_student(model).series for model in models)
    who = models if len(models) <= 3 else [f"{name} {number}" for name, number in series.items()]
    return f"| `{condition}` | {len(models)} | {', '.join(who)} |"


def test_the_table_of_tricks_is_counted_from_the_recipes():
    page = (SHELF.parent / "docs" / "tricks.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| `")]
    found = [row_of_tricks(line.split("`")[1]) for line in table]
    assert table == found
    varied = {line.split("`")[1].split(":")[0] for line in table}
    assert varied >= {"loss.ce.smoothing", "data.augment.mixup", "optim.ema", "optim.schedule", "data.size"}


def test_the_configuration_names_of_the_table_are_the_architectures_but_for_the_slips():
    other = {model for model, row in ROWS.items() if row["architecture_in_config"] != model}
    assert other == {model for model, column in SLIPS if column == "architecture_in_config"}
