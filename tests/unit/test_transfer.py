"""A student that starts from given weights: where they are found, what of them stays, and the published transfers."""

import copy
import re
from pathlib import Path

import numpy as np
import paddle
import pytest

from ssld import models, weights
from ssld.config import parse, recipe, sweep
from ssld.distill.networks import make_network
from ssld.distill.pretrained import check_starts, pretrained_file
from ssld.distill.runs import Run
from ssld.errors import RecipeError, RunError, WeightsError
from ssld.runtime import Runtime
from tests.unit import tiny_zoo
from tests.unit.some_recipe import TREE, changed, fails, written

ARCH = TREE["student"]["arch"]
# PaddleClas release/static:docs/zh_CN/advanced_tutorials/distillation/distillation.md, 4.2: top-1 from the weights of
# ResNet50_vd and from those of ResNet50_vd_ssld; classes as the authors of the data sets count them.
PUBLISHED = {
    "oxford_102_flowers": (97.18, 97.41, 102),
    "caltech_101": (92.57, 93.21, 102),  # the background counts
    "oxford_iiit_pets": (94.30, 94.76, 37),
    "dtd": (76.48, 77.71, 47),
    "fgvc_aircraft": (88.98, 90.00, 100),
    "stanford_cars": (92.65, 92.76, 196),
    "sun397": (64.02, 68.36, 397),
    "cifar100": (86.50, 87.58, 100),
    "cifar10": (97.72, 97.94, 10),
    "food_101": (89.58, 89.99, 101),
}
GIVEN = changed(changed(TREE, "student.pretrained", "some/file.safetensors"), "stages.distill.init", "pretrained")


@pytest.fixture
def load(tmp_path):
    return lambda tree=GIVEN, *overrides, **options: recipe.load(written(tmp_path, tree), overrides, **options)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(file, network) of a student of 7 classes, as a run leaves it."""
    paddle.seed(5)
    network = models.create(ARCH, num_classes=7)
    file = tmp_path_factory.mktemp("source") / "model.safetensors"
    weights.save(network, file, digest="abc")
    return file, network


def with_weights(load, given, *overrides):
    return load(changed(GIVEN, "student.pretrained", str(given)), *overrides)


def made(plan, stage, folder):
    """The network that a stage starts from."""
    return make_network(Run.of_plan(plan, folder, Runtime(rank=0, world=1, gpu=None)).stage(stage))


# --- what starts


def test_a_stage_starts_from_the_weights_and_from_a_fresh_head_of_other_classes(load, source, tmp_path, capsys):
    file, there = source
    plan = with_weights(load, file)
    started, fresh = made(plan, "distill", tmp_path), made(plan, "plain", tmp_path)
    for key, value in started.state_dict().items():
        wanted = fresh if key.startswith("head.fc") else there
        np.testing.assert_array_equal(value.numpy(), wanted.state_dict()[key].numpy(), err_msg=key)
    assert f"{file}: made for 7 classes; fresh for 10: head.fc.weight, head.fc.bias" in capsys.readouterr().err


def test_with_the_same_number_of_classes_the_head_starts_from_the_weights_too(load, source, tmp_path, capsys):
    file, there = source
    started = made(with_weights(load, file, "classes=7"), "distill", tmp_path)
    np.testing.assert_array_equal(started.head.fc.weight.numpy(), there.head.fc.weight.numpy())
    assert "fresh" not in capsys.readouterr().err


def test_a_fresh_head_hides_nothing_else_that_does_not_fit(monkeypatch, tmp_path):
    tiny_zoo.zoo(monkeypatch)
    weights.save(models.create("Tiny2", num_classes=7), tmp_path / "m.safetensors")
    held = weights.load(tmp_path / "m.safetensors")
    one_less = {key: value for key, value in held.items() if key != "stages.1.0.weight"}
    narrow = {**held, "stages.1.0.weight": held["stages.1.0.weight"][:3]}
    for arrays, message in ((one_less, "1 missing"), (narrow, "3 arrays of another shape")):
        weights.save(arrays, tmp_path / "n.safetensors")
        with pytest.raises(WeightsError, match=message):
            weights.load_into(models.create("Tiny2", num_classes=10), tmp_path / "n.safetensors", fresh_head=True)


def test_a_smoke_run_starts_fresh_and_says_so(load, tmp_path, capsys):
    plan = load(smoke=True)
    check_starts(plan)  # no file is asked for
    made(plan, "distill", tmp_path)
    assert "student.pretrained some/file.safetensors: fresh weights, this is a smoke run" in capsys.readouterr().err


# --- where the weights are


def test_a_name_is_the_published_file_in_the_weights_folder(load, monkeypatch, tmp_path):
    monkeypatch.setenv("SSLD_WEIGHTS", str(tmp_path))
    plan = with_weights(load, "ResNet50_vd_ssld", "student.arch=ResNet50_vd")
    file = tmp_path / "ResNet50_vd_ssld_pretrained.pdparams"
    message = rf"student.pretrained: no weights at {re.escape(str(file))}; run `ssld weights fetch ResNet50_vd_ssld`"
    with pytest.raises(RunError, match=message):
        check_starts(plan)
    file.write_bytes(b"")
    assert pretrained_file(plan.student, "student") == file


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("runs/none.safetensors", RunError, "student.pretrained: no file runs/none.safetensors; name one"),
        ("ResNet50_vd_sld", RecipeError, "no published training named 'ResNet50_vd_sld'; did you mean"),
        ("ResNet34_vd_ssld", RecipeError, f"ResNet34_vd_ssld is of ResNet34_vd, the student is {ARCH}; name another"),
    ],
)
def test_weights_that_cannot_be_had_are_one_line_before_anything_runs(load, given, kind, message):
    with pytest.raises(kind, match=re.escape(message)) as caught:
        check_starts(with_weights(load, given))
    assert "\n" not in str(caught.value)


# --- what a recipe may say


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("student.pretrained", None, "student.pretrained: stage distill starts from it; give a weights file"),
        ("stages.distill.init", "scratch", "student.pretrained: no stage starts from it; set init: pretrained"),
        ("stages.teach.init", "pretrained", "stages.teach.init: given weights are the student's"),
        ("stages.plain.optim.stage_lr", [0.1, -1], "stages.plain.optim.stage_lr.1: should be a number from 0 to"),
        ("stages.plain", {**TREE["stages"]["plain"], "train": "head", "optim": {"stage_lr": [1.0]}}, "train: head"),
    ],
)
def test_a_start_that_cannot_be_is_refused(load, path, value, message):
    assert message in fails(load, changed(GIVEN, path, value))


def test_no_stage_may_be_called_as_given_weights_are(load):
    tree = copy.deepcopy(TREE)
    tree["stages"] = {"pretrained": tree["stages"]["plain"], **tree["stages"]}
    assert "stages.pretrained: init uses this name for given weights" in fails(load, tree)


def test_other_weights_are_another_digest_of_the_stages_that_start_from_them_alone(load):
    one, other = load(), with_weights(load, "some/other.safetensors")
    changed_stages = {name for name in one.stages if one.stage_digest(name) != other.stage_digest(name)}
    assert changed_stages == {"distill", "finetune"}
    assert one.digest != other.digest


@pytest.mark.parametrize(("stage", "parts", "arch"), [("plain", 5, ARCH), ("teach", 5, "ResNet18")])
def test_stage_lr_of_another_network_is_refused_with_the_right_count(load, stage, parts, arch):
    wrong = load(changed(TREE, f"stages.{stage}.optim.stage_lr", [0.1] * (parts + 1)))
    message = (
        f"stages.{stage}.optim.stage_lr: {parts + 1} numbers; {arch} needs {parts}, of its stem and its {parts - 1}"
    )
    with pytest.raises(RunError, match=re.escape(message)):
        check_starts(wrong)
    check_starts(load(changed(TREE, f"stages.{stage}.optim.stage_lr", [0.1] * parts)))


def test_a_teacher_of_other_images_than_the_last_stage_s_is_not_compared(load):
    assert load(TREE).compared is not None
    alone = changed(TREE, "baseline", None)  # the baseline was not measured on other images
    assert load(changed(alone, "stages.finetune.data", {"val": "e/val.txt"})).compared is not None  # it taught them
    moved = changed(changed(alone, "stages.finetune.data", {"val": "e/val.txt"}), "stages.finetune.loss", {"ce": {}})
    del moved["stages"]["finetune"]["init"], moved["stages"]["finetune"]["loss"]
    moved["stages"]["finetune"] |= {"init": "distill", "loss": {"ce": {}}}
    assert load(moved).compared is None


# --- the shelf


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_transfer_has_its_claim_and_the_published_rates(name):
    plain, ssld, classes = PUBLISHED[name]
    plan, text = recipe.load(f"transfer/{name}"), parse.locate(f"transfer/{name}").read_text(encoding="utf-8")
    optim = plan.stages["transfer"].optim
    assert (plan.claim, plan.classes, plan.title.rpartition(": ")[2]) == (
        ssld, classes, f"published {plain:.2f} -> {ssld:.2f}"
    )  # fmt: skip
    assert (plan.student.arch, plan.student.pretrained) == ("ResNet50_vd", "ResNet50_vd_ssld")
    assert (optim.lr, optim.weight_decay, optim.stage_lr) == (0.003, 1e-4, (0.1, 0.1, 0.2, 0.2, 0.3))
    assert text.splitlines()[0].endswith(
        f"from ResNet50_vd_ssld: {ssld:.2f} top-1, and {plain:.2f} from ResNet50_vd (published)."
    )
    for word in (f"ssld run recipes/transfer/{name}.yaml", "Source: PaddleClas", "Not run by this project"):
        assert word in text


def test_the_ten_published_data_sets_are_the_shelf_s_but_for_the_one_that_runs_here():
    names = {file.stem for file in parse.recipes() if file.parent.name == "transfer"}
    assert names == {*PUBLISHED, "digits_from_fashion"}


def test_the_published_rates_fit_their_networks():
    """Of MobileNetV3_large three blocks share a number: its stages are of 1, 2, 3, 6 and 3 blocks."""
    plan = recipe.load("transfer/oxford_102_flowers", ["student.pretrained=ResNet50_vd"], smoke=True)
    check_starts(plan)
    published, rates = [0.25, 0.25, 0.5, 0.5, 0.75], [0.25, 0.25, 0.25, 0.25, 0.5, 0.75]
    page = (Path(__file__).parents[2] / "docs/transfer.md").read_text(encoding="utf-8")
    assert f"stage_lr: {rates}" in page
    with paddle.LazyGuard():
        blocks = [len(stage) for stage in models.create("MobileNetV3_large_x1_0").stages]
    of_blocks = [rate for rate, count in zip(rates[1:], blocks, strict=True) for _ in range(count)]
    assert of_blocks == [rate for rate in published for _ in range(3)]


def test_the_published_grid_has_196_trials_of_keys_that_the_recipe_has():
    grid = sweep.load("transfer")
    trials = sweep.trials(grid, None, seed=0)
    assert len(trials) == 196
    recipe.load(grid.recipe, sweep.overrides(trials[-1]))


def test_the_recipe_that_runs_here_transfers_what_it_distilled_itself():
    plan = recipe.load("transfer/digits_from_fashion")
    stages = plan.stages
    assert (stages["source"].init, stages["even"].init, stages["transfer"].init) == ("scratch", "source", "source")
    assert stages["source"].asks_teacher
    assert stages["source"].data.val != stages["transfer"].data.val == stages["baseline"].data.val
    assert plan.datasets == ("fashion_mnist", "digits")
    assert plan.compared is None
