"""Plans: what makes a run, digests, and the recipes of the shelf."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssld import yaml_text
from ssld.config import parse, recipe
from ssld.config.recipe import Plan
from ssld.errors import RecipeError
from ssld.losses import build_terms
from ssld.losses.registry import built_in
from ssld.plans import load_plan
from tests.unit.some_recipe import TREE, changed, fails, written

SHELF = [file.relative_to(parse.shelf("recipes")).as_posix() for file in parse.recipes()]


@pytest.fixture
def load(tmp_path):
    """A plan from a tree (by default TREE), overrides and options."""
    return lambda tree=TREE, *overrides, **options: recipe.load(written(tmp_path, tree), overrides, **options)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return recipe.load(written(tmp_path_factory.mktemp("recipe"), TREE))


# --- what types cannot say


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stages", {}, "stages: a recipe needs at least one stage"),
        ("name", "../x", "name: '../x' has a path separator; write a plain name, which may be in any language"),
        ("stages.a/b", TREE["stages"]["plain"], "stages: 'a/b' has a path separator; write a plain name"),
        ("stages.finetune.init", "distil", "stages.finetune.init: no earlier stage named 'distil'; did you mean"),
        ("stages.plain.init", "finetune", "stages.plain.init: no earlier stage named 'finetune'"),
        ("stages.plain.init", "plain", "stages.plain.init: no earlier stage named 'plain'"),
        ("stages.finetune.init", "teach", "stages.finetune.init: stage 'teach' trains the teacher; name one of"),
        ("stages.finetune.network", "teacher", "stages.finetune.init: stage 'distill' trains the student"),
        ("teacher", {"card": "ResNet50_vd"}, "stages.teach.network: this stage trains a teacher; give teacher.arch"),
        ("teacher.stage", "tech", "teacher.stage: no stage named 'tech'; did you mean 'teach'?"),
        ("teacher.card", "ResNet50_vd", "teacher: has card and stage; give exactly one of card, stage, run, onnx, "),
        ("teacher.stage", None, "teacher: has no source; give exactly one of card, stage, run, onnx, program, or"),
        ("baseline", "plane", "baseline: no stage named 'plane'; did you mean 'plain'?"),
        ("baseline", "teach", "baseline: stage 'teach' trains the teacher; name a stage of the student"),
        (
            "stages.plain.data.val",
            "other.txt",
            "baseline: stage 'plain' is evaluated on other.txt, and the last stage on",
        ),
        ("stages.plain.epochs", 0, "stages.plain.epochs: should be above 0; got 0"),
        ("stages.plain.epochs", float("nan"), "stages.plain.epochs: should be a number from 0 to 1,000,000; got nan"),
        ("stages.plain.data.batch", -8, "stages.plain.data.batch: should be an integer from 1 to 10,000,000; got -8"),
        ("stages.plain.optim.lr", 0, "stages.plain.optim.lr: should be a number above 0, at most 1,000; got 0"),
        ("stages.plain.optim.accumulate", 3, "stages.plain.optim.accumulate: 3 does not divide data.batch 8"),
        ("stages.plain.data.eval_resize", 31, "stages.plain.data.eval_resize: 31 pixels are less than the 32 of the"),
        ("stages.plain.data.augment", {"pad": 32}, "stages.plain.data.augment.pad: 32 pixels on every side of 32 can"),
        ("stages.plain.data.views", {"s": {"pad": 40}}, "stages.plain.data.views.s.pad: 40 pixels on every side of 32"),
        ("stages.plain.optim.warmup_epochs", 3, "stages.plain.optim.warmup_epochs: epoch 3 is not within the 3 epochs"),
        ("stages.plain.data.train", [], "stages.plain.data.train: should have 1 or more entries; got []"),
    ],
)
def test_a_recipe_that_makes_no_run_is_refused(load, path, value, message):
    assert f"some.yaml: {message}" in fails(load, changed(TREE, path, value))


IN_INT8 = {"init": "finetune", "epochs": 1, "loss": {"ssld": {}}, "quantize": {}}


def with_int8(**stage):
    """TREE with a last stage in int8, changed."""
    tree = changed(TREE, "export", {"formats": ["int8"]})
    tree["stages"] = {**tree["stages"], "qad": {**IN_INT8, **stage}}
    return tree


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"init": "scratch"}, "stages.qad.quantize: starts from a trained student; name the stage that trains it"),
        ({"train": "head"}, "stages.qad.quantize: trains the whole network and no average of it; drop train and"),
        ({"optim": {"ema": 0.9}}, "stages.qad.quantize: trains the whole network and no average of it"),
        ({"quantize": {"images": 0}}, "stages.qad.quantize.images: should be an integer from 1 to 1,000,000; got 0"),
        ({"quantize": {"keep": -1}}, "stages.qad.quantize.keep: should be an integer from 0 to 1,000,000; got -1"),
        ({"quantize": {"teacher": "flaot"}}, "stages.qad.quantize.teacher"),
        ({"quantize": None, "epochs": 0}, "stages.qad.epochs: should be above 0; got 0"),
    ],
)
def test_a_stage_in_int8_that_cannot_be_is_refused(load, stage, message):
    assert f"some.yaml: {message}" in fails(load, with_int8(**stage))


def test_nothing_is_trained_on_from_a_stage_in_int8_and_it_leaves_in_int8(load):
    on = with_int8()
    on["stages"]["more"] = {"init": "qad", "epochs": 1, "loss": {"ce": {}}}
    assert "stages.more.init: 'qad' is quantised, and what is cannot be trained on; name another" in fails(load, on)
    wrong = changed(with_int8(), "export.formats", ["int8", "onnx"])
    assert "export.formats: onnx is of float networks; after a quantised stage give int8" in fails(load, wrong)
    plan = changed(with_int8(), "export.formats", ["tensorrt"])
    assert "export.formats: tensorrt is of float networks" in fails(load, plan)
    assert load(changed(plan, "export.plan_precision", "int8")).export.formats == ("tensorrt",)


def test_a_stage_in_int8_depends_on_the_teacher_only_where_that_teaches_it(load):
    digests = [
        load(with_int8(quantize={"teacher": who}), f"teacher.norm={norm}").stage_digest("qad")
        for who in ("float", "teacher")
        for norm in ("batch", "running")
    ]
    assert digests[2] != digests[3]
    alone = with_int8(init="plain")
    del alone["stages"]["distill"], alone["stages"]["finetune"], alone["stages"]["teach"], alone["teacher"]
    assert load(alone).stages["qad"].is_taught
    float_only = [load(changed(alone, "baseline", name)).stage_digest("qad") for name in ("plain", None)]
    assert float_only[0] == float_only[1]


STEP = {"schedule": "step", "lr": 0.1}
EXPONENTIAL = {"schedule": "exponential", "lr": 0.1, "decay_epochs": 2.4}


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        (STEP, "milestones: none with schedule step; give epochs in rising order: [30, 60, 90]"),
        ({**STEP, "milestones": [3, 2]}, "milestones: should rise, without a number twice; got [3, 2]"),
        ({**STEP, "milestones": [2, 2]}, "milestones: should rise, without a number twice; got [2, 2]"),
        ({**STEP, "milestones": [2], "gamma": 0}, "gamma: should be a number above 0, at most 1; got 0"),
        ({**STEP, "milestones": [2, 3]}, "milestones: epoch 3 is not within the 3 epochs of the stage; give less, or"),
        ({**EXPONENTIAL, "decay_epochs": 0}, "decay_epochs: should be above 0 with schedule exponential; got 0"),
        ({**EXPONENTIAL, "decay_epochs": 3}, "decay_epochs: epoch 3 is not within the 3 epochs of the stage"),
    ],
)
def test_a_schedule_without_its_numbers_is_refused(load, optim, message):
    assert f"some.yaml: stages.plain.optim.{message}" in fails(load, changed(TREE, "stages.plain.optim", optim))


def test_a_schedule_may_be_changed_without_taking_its_numbers_away(load):
    step = changed(TREE, "stages.plain.optim", {**STEP, "milestones": [1, 2]})
    assert load(step, "stages.plain.optim.schedule=cosine").stages["plain"].optim.schedule == "cosine"


def test_a_stage_without_a_loss_is_refused(load):
    tree = changed(TREE, "stages.teach.loss", {})
    assert "stages.teach.loss: no terms; name at least one loss" in fails(load, tree)


@pytest.mark.parametrize("how", ["mixup", "cutmix"])
def test_a_loss_that_needs_one_label_of_each_image_is_refused_where_images_are_mixed(load, how):
    tree = changed(TREE, f"stages.distill.data.augment.{how}", 0.2)
    load(changed(tree, "stages.distill.loss", {"ssld": {}, "ce": {}, "lskd": {}}))
    message = fails(load, changed(tree, "stages.distill.loss", {"mine": {"kind": "dkd"}}))
    wanted = (
        "stages.distill.loss.mine: dkd needs images of one label each, and this stage mixes them; set stages.distill"
    )
    assert wanted in message
    tree = changed(tree, f"stages.distill.data.augment.{how}", 0.0)
    load(changed(tree, "stages.distill.loss", {"dkd": {}}))


ALONE = {name: term.loss for name in built_in() for term in build_terms({name: {}}).values() if term.loss.views == 1}
OF_LABELS = {
    name: loss for name, loss in ALONE.items() if "label" in loss.reads.batch and "peers" not in loss.reads.batch
    and not loss.reads.each
}  # fmt: skip


@pytest.mark.parametrize("name", OF_LABELS)
def test_every_loss_of_labels_takes_mixed_images_with_both_labels_or_refuses_them_by_its_name(load, name):
    tree = changed(TREE, "stages.distill.data.augment.mixup", 0.2)
    tree = changed(tree, "stages.distill.loss", {name: {"unlabelled": "ignore"}})
    if OF_LABELS[name].mixed == "both":
        load(tree)
    else:
        assert f"stages.distill.loss.{name}: {name} needs images of one label each" in fails(load, tree)


def test_the_last_stage_must_train_the_student(load):
    tree = changed(TREE, "stages.again", {"network": "teacher", "epochs": 1, "loss": {"ce": {}}})
    assert "the last stage must train the student" in fails(load, tree)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.distill.loss.ssld={weight: -1}", "stages.distill.loss.ssld.weight: should be a number from 0 to"),
        ("bench.engines=[padle]", "no engine named 'padle'; did you mean 'paddle'?"),
        ("student.arch=ResNet50_v", "'ResNet50_v'"),
        ("teacher.arch=ResNet19", "'ResNet19'"),
    ],
)
def test_unknown_losses_engines_and_networks_are_found_before_anything_runs(tmp_path, override, message):
    with pytest.raises(RecipeError) as caught:
        load_plan(str(written(tmp_path, TREE)), [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"sslt": {}}, "stages.distill.loss.sslt: no loss named 'sslt'; did you mean 'ssld'?"),
        ({"kl": {"temprature": 2}}, "stages.distill.loss.kl: no option 'temprature'; did you mean 'temperature'?"),
    ],
)
def test_an_unknown_loss_or_option_is_named_with_its_stage(tmp_path, loss, message):
    file = written(tmp_path, changed(TREE, "stages.distill.loss", loss))
    with pytest.raises(RecipeError) as caught:
        load_plan(str(file), [])
    assert str(caught.value) == f"{file}: {message}"


def test_an_unknown_teacher_card_is_named(tmp_path):
    tree = {**TREE, "teacher": {"card": "ResNet50_vd_sld"}, "baseline": None}
    tree["stages"] = {"distill": TREE["stages"]["distill"]}
    with pytest.raises(RecipeError, match="no card named 'ResNet50_vd_sld' in teachers/; did you mean"):
        load_plan(str(written(tmp_path, tree)), [])


# --- digests


def leaves(tree, path=()):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield ".".join((*path, key)), value


OTHER = {"momentum": "adamw", "cosine": "constant", "linear": "cubic", "none": "randaugment", "all": "head"}
OTHER |= {"batch": "running", "off": "O1", "full": "smoke", "student": "teacher", "teacher": "student", "fp32": "fp16"}
OTHER |= {"error": "ignore", "probabilities": "logits"}
FOR_NONE = {"title": "x", "teacher.card": "x", "teacher.weights": "x", "student.pretrained": "x", "dataset": "x"}
FOR_NONE |= dict.fromkeys(("student.code", "teacher.gives"), "logits")
FOR_NONE |= dict.fromkeys(("student.bn_momentum", "teacher.bn_momentum"), 0.5)
FOR_NONE |= {"teacher.input": {"size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}}
FOR_NONE |= {"prepare": {"mined": {"sources": ["x"], "teacher": "x", "against": "x", "k": 1}}}
CACHE = {"views": 1, "k": 1, "seed": 0, "folder": None}
INT8 = {"teacher": "float", "keep": 0, "images": 1, "recalibrate": 0}


def another(path, value):
    """A value of the same type that differs."""
    if path.endswith(".background"):
        return "black"
    if path.endswith(".side"):
        return "distil"
    if value is None:
        blocks = {"labels": CACHE, "quantize": INT8, "head": {"kind": "distillation"}}
        names = (
            "code",
            "run",
            "onnx",
            "program",
            "output",
            "classes_file",
            "teacher",
            "student_view",
            "teacher_view",
            "test",
        )
        texts = {**dict.fromkeys(names, "x"), "min_teacher": 0.5}
        return blocks.get(path.rpartition(".")[2]) or FOR_NONE.get(path) or texts.get(path.rpartition(".")[2], 7)
    if value == {}:
        values = {"teachers": {"x": {"card": "x"}}, "taps": {"x": "y"}, "views": {"x": {}}}
        values |= {"helpers": {"x": "y"}, "peers": {"x": {"arch": "x"}}}
        return values.get(path.rpartition(".")[2], {"x": 1})
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if isinstance(value, int) else value / 2 or 0.5
    if isinstance(value, list):
        if path == "export.formats":
            return value[:-1]
        return [another("", item) for item in value] or (["x"] if path.endswith("teachers") else [7])
    return OTHER.get(value, f"{value}x")


def test_the_digest_changes_with_every_key_of_the_plan(plan):
    tree = recipe.plan_tree(plan)
    found = {plan.digest}
    for path, value in leaves(tree):
        if path == "code" or path.endswith(".kind"):  # known by content, see test_networks.py; another loss
            continue
        other = parse.build(Plan, changed(tree, path, another(path, value)), "test")
        assert other.digest not in found, path
        found.add(other.digest)
    assert len(found) > 150


def test_the_digest_does_not_depend_on_the_order_in_which_keys_are_written(load):
    one = changed(TREE, "stages.distill.loss", {"ssld": {}, "kl": {"weight": 2, "temperature": 4}})
    other = changed(TREE, "stages.distill.loss", {"kl": {"temperature": 4, "weight": 2}, "ssld": {}})
    assert load(one).digest == load({key: other[key] for key in reversed(other)}).digest


def test_the_group_is_the_digest_without_the_seed(load):
    first, second, other = load(TREE, "seed=1"), load(TREE, "seed=2"), load(TREE, "seed=1", "classes=9")
    assert first.group == second.group != other.group
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("override", "redone"),
    [
        ("stages.finetune.epochs=2", "finetune"),
        ("stages.distill.epochs=2", "distill finetune"),
        ("stages.plain.epochs=2", "plain"),
        ("stages.teach.epochs=3", "teach distill finetune"),  # the baseline learns from labels alone
        ("teacher.norm=running", "distill finetune"),  # how it labels, not how it was trained
        ("student.arch=ResNet18", "plain distill finetune"),
        ("seed=1", "teach plain distill finetune"),
        ("classes=9", "teach plain distill finetune"),
        ("title=new", ""),
        ("bench.threads=2", ""),
        ("export.opset=16", ""),
        ("baseline=distill", ""),
        ("stages.finetune.data.test=d/test.txt", ""),  # the test comes after the training
        ("stages.distill.data.augment.pad=4", "distill finetune"),
    ],
)
def test_a_changed_key_redoes_the_stages_that_depend_on_it_and_no_other(load, override, redone):
    before, after = load(), load(TREE, override)
    assert [name for name in TREE["stages"] if before.stage_digest(name) != after.stage_digest(name)] == redone.split()


# --- the shelf


@pytest.mark.parametrize("name", SHELF)
def test_a_recipe_of_the_shelf_loads_and_its_dump_is_the_same_plan(name, tmp_path):
    plan = load_plan(f"recipes/{name}", [])
    again = parse.build(Plan, yaml_text.read(written(tmp_path, recipe.dump(plan))), "dump")
    assert again == plan
    assert again.digest == plan.digest


@pytest.mark.parametrize("name", SHELF)
def test_smoke_shrinks_sizes_and_keeps_stages_losses_and_networks(name):
    full, smoke = load_plan(name, []), load_plan(name, [], smoke=True)
    assert (smoke.student.arch, list(smoke.stages), smoke.baseline) == (
        full.student.arch, list(full.stages), full.baseline
    )  # fmt: skip
    assert {network.bn_momentum for network in (smoke.student, smoke.teacher) if network} == {0.7}
    assert (smoke.scope, smoke.dataset, smoke.claim) == ("smoke", None, None)
    assert smoke.digest != full.digest
    for stage, small in zip(full.stages.values(), smoke.stages.values(), strict=True):
        kept = ("network", "init", "train", "loss", "sync_bn")
        assert [getattr(small, key) for key in kept] == [getattr(stage, key) for key in kept]
        assert small.data.augment == stage.data.augment
        assert {Path(file).parent.name for file in (*small.data.train, small.data.val)} == {"fake"}
        assert (small.data.size, small.data.crop, small.data.resize) == (smoke.smoke.size,) * 3
        images = smoke.smoke.images * len(small.data.train)
        steps = smoke.smoke.steps if stage.epochs else 0
        assert round(small.epochs * (images // small.data.batch)) == steps


def test_no_two_recipes_of_the_shelf_have_one_name():
    names = [recipe.load(name).name for name in SHELF]
    assert len(set(names)) == len(names) > 100


def test_a_recipe_in_a_folder_is_named_with_its_folder():
    assert parse.locate("plain/resnet50_vd").samefile(parse.locate("recipes/plain/resnet50_vd.yaml"))
    with pytest.raises(RecipeError, match=r"no such recipe; did you mean 'plain/resnet50_vd'"):
        parse.locate("plain/resnet50vd")


def test_a_recipe_is_found_by_path_by_name_and_by_its_shelf_path_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "quickstart.yaml", "recipes/quickstart.yaml", str(parse.shelf("recipes") / SHELF[0])):
        assert parse.locate(name).is_file()
    with pytest.raises(RecipeError, match=r"^recipes/quikstart\.yaml: no such recipe; did you mean 'quickstart'"):
        parse.locate("recipes/quikstart.yaml")


def test_loading_and_checking_a_recipe_imports_no_paddle():
    code = (
        "import sys\nfrom ssld.config import recipe\nfrom ssld.plans import load_plan\n"
        "plan = load_plan('quickstart', ['seed=1'], smoke=True)\nplan.digest, recipe.dump(plan)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('paddle', 'nvidia', 'wandb', 'matplotlib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
