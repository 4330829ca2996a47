"""Recipes: base, `stage:`, overrides, checks, digests. A recipe is typed and whole before anything heavy is imported."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ssld.config import parse, recipe
from ssld.config.recipe import Plan
from ssld.errors import RecipeError
from ssld.listing import load_plan
from ssld.losses import LOSSES

SHELF = [file.relative_to(parse.shelf("recipes")).as_posix() for file in parse.recipes()]
TREE = {
    "classes": 10,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "teacher": {"arch": "ResNet18", "stage": "teach"},
    "baseline": "plain",
    "stage": {
        "data": {"train": ["d/train.txt"], "val": "d/val.txt", "size": 32, "batch": 8},
        "optim": {"lr": 0.1, "momentum": 0.8},
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "loss": {"ce": {}}},
        "plain": {"epochs": 3, "loss": {"ce": {}}},
        "distill": {"epochs": 4, "loss": {"ssld": {}}, "data": {"train": ["d/train.txt", "d/more.txt"]}},
        "finetune": {"epochs": 1, "init": "distill", "loss": {"ssld": {}}, "optim": {"lr": 0.01}},
    },
}


def changed(tree, path, value):
    """A copy of the tree with the value under `a.b.c`; keys are made where there are none."""
    tree = copy.deepcopy(tree)
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return tree


def written(folder, tree, name="some.yaml"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture
def load(tmp_path):
    """A plan from a tree (by default TREE), overrides and options."""
    return lambda tree=TREE, *overrides, **options: recipe.load(written(tmp_path, tree), overrides, **options)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return recipe.load(written(tmp_path_factory.mktemp("recipe"), TREE))


def fails(load, tree, *overrides):
    """The message of the RecipeError, which is one line."""
    with pytest.raises(RecipeError) as caught:
        load(tree, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- base and `stage:`


def test_mappings_merge_with_those_of_the_base_and_everything_else_is_replaced(tmp_path):
    written(tmp_path, TREE, "_base/protocol.yaml")
    above = {
        "base": "_base/protocol.yaml",
        "classes": 5,
        "stage": {"data": {"train": ["e/other.txt"]}},
        "stages": {"distill": {"epochs": 9}},
    }
    plan = recipe.load(written(tmp_path, above))
    assert (plan.name, plan.classes, plan.student.arch) == ("some", 5, "MobileNetV3_small_x0_35")
    assert list(plan.stages) == ["teach", "plain", "distill", "finetune"]
    assert plan.stages["plain"].data.train == ("e/other.txt",)  # a list is replaced
    assert plan.stages["plain"].data.size == 32  # what stands beside it stays
    distill = plan.stages["distill"]
    assert (distill.epochs, list(distill.loss), distill.data.train) == (9, ["ssld"], ("d/train.txt", "d/more.txt"))


def test_a_base_with_a_base_is_refused(tmp_path, load):
    written(tmp_path, TREE, "a.yaml")
    written(tmp_path, {"base": "a.yaml"}, "b.yaml")
    assert "a base cannot have a base" in fails(load, {"base": "b.yaml"})


def test_a_missing_base_is_named(load):
    assert "base: no file" in fails(load, {**TREE, "base": "_base/nowhere.yaml"})


def test_each_stage_is_the_shared_block_with_its_own_keys_over_it(plan):
    finetune = plan.stages["finetune"]
    assert (finetune.optim.lr, finetune.optim.momentum) == (0.01, 0.8)
    assert plan.stages["plain"].optim.lr == 0.1
    assert finetune.data.batch == 8


def test_a_loss_term_without_a_weight_has_weight_1(load):
    assert load().stages["distill"].loss == {"ssld": {"weight": 1.0}}
    given = changed(TREE, "stages.distill.loss", {"ssld": {"weight": 2}, "kl": {"temperature": 4}})
    assert load(given).stages["distill"].loss["ssld"] == {"weight": 2.0}
    assert load(given).stages["distill"].loss["kl"] == {"weight": 1.0, "temperature": 4.0}


def test_the_losses_of_a_stage_are_added_to_the_shared_ones(load):
    shared = changed(TREE, "stage.loss", {"ce": {"smoothing": 0.1}})
    assert load(shared).stages["distill"].loss == {"ce": {"weight": 1.0, "smoothing": 0.1}, "ssld": {"weight": 1.0}}


@pytest.mark.parametrize("value", [0, 0.1, [1]])
def test_a_loss_term_that_is_no_mapping_is_refused(load, value):
    message = fails(load, changed(TREE, "stages.distill.loss.ssld", value))
    assert "stages.distill.loss.ssld: Input should be a valid dictionary; got" in message


# --- YAML


@pytest.mark.parametrize(("text", "number"), [("1e-5", 1e-5), ("1E-5", 1e-5), ("2.5e+3", 2500.0), (".5e1", 5.0)])
def test_an_exponent_makes_a_number(tmp_path, text, number):
    file = written(tmp_path, f"a: {text}\n")
    value = parse.read_yaml(file)["a"]
    assert (value, type(value)) == (number, float)


@pytest.mark.parametrize("text", ["1e5x", "e5", "v1e-5", "'1e-5'"])
def test_what_only_looks_like_an_exponent_stays_text(tmp_path, text):
    assert parse.read_yaml(written(tmp_path, f"a: {text}\n"))["a"] == text.strip("'")


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path):
    file = written(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\n")
    with pytest.raises(RecipeError, match=r"some\.yaml: line 3: key 'c' stands twice; remove one$"):
        parse.read_yaml(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: ]\n", "line 2: not valid YAML"),
        ("- 1\n- 2\n", "a recipe is a mapping of keys; this file holds list"),
        ("", "a recipe is a mapping of keys; this file holds NoneType"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(load, text, message):
    assert message in fails(load, text)


# --- keys and types


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("clases", "classes"),
        ("student.arhc", "arch"),
        ("teacher.nrom", "norm"),
        ("stages.plain.epoch", "epochs"),
        ("stages.plain.data.sise", "size"),
        ("stages.plain.data.augment.flp", "flip"),
        ("stages.plain.optim.weight_decays", "weight_decay"),
        ("stage.optim.ir", "lr"),
        ("export.format", "formats"),
        ("bench.engine", "engines"),
        ("smoke.step", "steps"),
    ],
)
def test_an_unknown_key_at_any_depth_is_named_with_the_nearest_known_one(load, path, nearest):
    message = fails(load, changed(TREE, path, 1))
    shown = path.replace("stage.", "stages.teach.")  # a shared key is found in the first stage
    assert message.endswith(f"some.yaml: {shown}: unknown key; did you mean {nearest!r}?")


def test_an_unknown_key_that_resembles_none_lists_the_known_ones(load):
    assert fails(load, changed(TREE, "student.xyzzy", 1)).endswith("xyzzy: unknown key; known: arch, bn_momentum")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("classes", "ten", "classes: Input should be a valid integer"),
        ("stages.plain.epochs", [1], "stages.plain.epochs: Input should be a valid number"),
        ("stages.plain.data.augment.area", [1.0], "stages.plain.data.augment.area.1: "),
        ("stages.plain.optim.schedule", "cosin", "stages.plain.optim.schedule: Input should be 'cosine' or 'constant'"),
        ("stages.plain.data", 5, "stages.plain.data: "),
        ("stages.plain", 5, "stages.plain: "),
        ("stages", [1], "stages: "),
        ("seed", 1.5, "seed: "),
    ],
)
def test_a_value_of_the_wrong_type_is_one_line_with_key_and_value(load, path, value, message):
    found = fails(load, changed(TREE, path, value))
    assert f"some.yaml: {message}" in found
    assert "got " in found or "required" in found


def test_a_missing_key_is_named(load):
    tree = copy.deepcopy(TREE)
    del tree["stages"]["plain"]["epochs"]
    assert fails(load, tree).endswith("stages.plain.epochs: this key is required; add it")


# --- overrides


def test_an_override_changes_one_key_and_no_other(load, plan):
    given = load(TREE, "stages.distill.optim.lr=1e-3")
    tree = changed(recipe.plan_tree(plan), "stages.distill.optim.lr", 0.001)
    assert recipe.plan_tree(given) == tree


def test_an_override_reaches_defaults_that_the_file_does_not_write(load):
    plan = load(TREE, "bench.threads=2", "stages.plain.data.augment.mixup=0.2", "export.formats=[paddle]")
    assert (plan.bench.threads, plan.stages["plain"].data.augment.mixup) == (2, 0.2)
    assert plan.export.formats == ("paddle",)


def test_a_mapping_as_override_changes_its_keys_and_keeps_the_others(load):
    optim = load(TREE, "stages.plain.optim={lr: 0.5, nesterov: true}").stages["plain"].optim
    assert (optim.lr, optim.nesterov, optim.momentum) == (0.5, True, 0.8)


def test_later_overrides_win(load):
    assert load(TREE, "seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.distil.epochs=3", "override stages.distil.epochs: no key 'distil'; did you mean 'distill'?"),
        ("stages.distill.epoch=3", "override stages.distill.epoch: no key 'epoch'; did you mean 'epochs'?"),
        ("stages.distill.loss.kl={weight: 1}", "override stages.distill.loss.kl: no key 'kl'"),
        ("stages.distill.loss={kl: {}}", "override stages.distill.loss.kl: no key 'kl'"),
        ("stages={extra: {epochs: 1}}", "override stages.extra: no key 'extra'"),
        ("seed.deeper=1", "override seed.deeper: no key 'deeper'"),
        ("seed", "override 'seed': not of the form key.path=value"),
        ("=3", "override '=3': not of the form key.path=value"),
        ("title=[1", "override title: '[1' is not valid YAML; quote it"),
        ("student={arch: a, arch: b}", "override student: line 1: key 'arch' stands twice; remove one"),
    ],
)
def test_an_override_never_creates_a_key(load, override, message):
    assert fails(load, TREE, override) == message


def test_an_override_of_the_wrong_type_names_its_key(load):
    assert "stages.plain.epochs: Input should be a valid number" in fails(load, TREE, "stages.plain.epochs=many")


# --- what types cannot say


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("stages", {}, "stages: a recipe needs at least one stage"),
        ("stages.finetune.init", "distil", "stages.finetune.init: no earlier stage named 'distil'; did you mean"),
        ("stages.plain.init", "finetune", "stages.plain.init: no earlier stage named 'finetune'"),
        ("stages.plain.init", "plain", "stages.plain.init: no earlier stage named 'plain'"),
        ("stages.finetune.init", "teach", "stages.finetune.init: stage 'teach' trains the teacher; name one of the stu"),
        ("stages.finetune.network", "teacher", "stages.finetune.init: stage 'distill' trains the student"),
        ("teacher", {"card": "ResNet50_vd"}, "stages.teach.network: this stage trains a teacher; give teacher.arch"),
        ("teacher.stage", "tech", "teacher.stage: no stage named 'tech'; did you mean 'teach'?"),
        ("teacher.stage", "plain", "teacher.stage: stage 'plain' trains the student"),
        ("teacher.card", "ResNet50_vd", "teacher: give either card"),
        ("teacher.stage", None, "teacher: give either card"),
        ("baseline", "plane", "baseline: no stage named 'plane'; did you mean 'plain'?"),
        ("stages.plain.epochs", 0, "stages.plain.epochs: must be above 0; got 0"),
        ("stages.plain.epochs", float("nan"), "stages.plain.epochs: must be above 0; got nan"),
        ("stages.plain.data.batch", -8, "stages.plain.data.batch: must be above 0"),
        ("stages.plain.data.size", 0, "stages.plain.data.size: must be above 0"),
        ("stages.plain.data.eval_batch", 0, "stages.plain.data.eval_batch: must be above 0"),
        ("stages.plain.optim.lr", 0, "stages.plain.optim.lr: must be above 0"),
        ("stages.plain.optim.accumulate", 0, "stages.plain.optim.accumulate: must be above 0"),
        ("stages.plain.optim.accumulate", 3, "stages.plain.optim.accumulate: 3 does not divide data.batch 8"),
        ("stages.plain.eval_every", 0, "stages.plain.eval_every: must be above 0"),
        ("stages.plain.data.train", [], "stages.plain.data.train: a stage needs at least one list file"),
    ],
)
def test_a_recipe_that_makes_no_run_is_refused(load, path, value, message):
    assert f"some.yaml: {message}" in fails(load, changed(TREE, path, value))


def test_a_stage_without_a_loss_is_refused(load):
    tree = changed(TREE, "stages.teach.loss", {})
    assert "stages.teach.loss: a stage needs at least one loss term" in fails(load, tree)


def test_the_last_stage_must_train_the_student(load):
    tree = changed(TREE, "stages.again", {"network": "teacher", "epochs": 1, "loss": {"ce": {}}})
    assert "the last stage must train the student" in fails(load, tree)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.distill.loss.ssld={weight: -1}", "stages.distill.loss.ssld.weight: -1.0 is negative"),
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
        ({"sslt": {}}, "stages.distill.loss: no loss named 'sslt'; did you mean 'ssld'?"),
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
OTHER |= {"batch": "running", "off": "O1", "full": "smoke", "student": "teacher", "teacher": "student"}
FOR_NONE = {"title": "x", "teacher.card": "x", "teacher.weights": "x", "dataset": "x"}


def another(path, value):
    """A value of the same type that differs."""
    if value is None:
        return FOR_NONE.get(path, 7)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return value[:-1] if path == "export.formats" else [another("", item) for item in value]
    return OTHER.get(value, f"{value}x")


def test_the_digest_changes_with_every_key_of_the_plan(plan):
    tree = recipe.plan_tree(plan)
    found = {plan.digest}
    for path, value in leaves(tree):
        other = parse.build(Plan, changed(tree, path, another(path, value)), "test")
        assert other.digest not in found, path
        found.add(other.digest)
    assert len(found) > 150


def test_the_digest_does_not_depend_on_the_order_of_keys(plan):
    def turned(tree):
        if not isinstance(tree, dict):
            return tree
        return {key: turned(tree[key]) for key in reversed(tree)}

    tree = recipe.plan_tree(plan)
    tree["stages"] = {name: turned(stage) for name, stage in tree["stages"].items()}
    assert parse.build(Plan, {key: tree[key] for key in reversed(tree)}, "test").digest == plan.digest


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
        ("teacher.norm=running", "teach distill finetune"),
        ("student.arch=ResNet18", "plain distill finetune"),
        ("seed=1", "teach plain distill finetune"),
        ("classes=9", "teach plain distill finetune"),
        ("title=new", ""),
        ("bench.threads=2", ""),
        ("export.opset=16", ""),
        ("baseline=distill", ""),
    ],
)
def test_a_changed_key_redoes_the_stages_that_depend_on_it_and_no_other(load, override, redone):
    before, after = load(), load(TREE, override)
    assert [name for name in TREE["stages"] if before.stage_digest(name) != after.stage_digest(name)] == redone.split()


def test_the_losses_that_need_no_teacher_are_those_that_the_digest_leaves_it_out_for():
    assert {name for name in LOSSES.names() if not LOSSES.get(name).needs_teacher} == recipe.LABEL_LOSSES


# --- the shelf


@pytest.mark.parametrize("name", SHELF)
def test_a_recipe_of_the_shelf_loads_and_its_dump_is_the_same_plan(name, tmp_path):
    plan = load_plan(f"recipes/{name}", [])
    again = parse.build(Plan, parse.read_yaml(written(tmp_path, recipe.dump(plan))), "dump")
    assert again == plan
    assert again.digest == plan.digest


@pytest.mark.parametrize("name", SHELF)
def test_smoke_shrinks_sizes_and_keeps_stages_losses_and_networks(name):
    full, smoke = load_plan(name, []), load_plan(name, [], smoke=True)
    assert (smoke.student, list(smoke.stages), smoke.baseline) == (full.student, list(full.stages), full.baseline)
    assert (smoke.scope, smoke.dataset, smoke.claim) == ("smoke", None, None)
    assert smoke.digest != full.digest
    for stage, small in zip(full.stages.values(), smoke.stages.values(), strict=True):
        kept = ("network", "init", "train", "loss", "sync_bn")
        assert [getattr(small, key) for key in kept] == [getattr(stage, key) for key in kept]
        assert small.data.augment == stage.data.augment
        assert {Path(file).parent.name for file in (*small.data.train, small.data.val)} == {"fake"}
        images = smoke.smoke.images * len(small.data.train)
        assert round(small.epochs * (images // small.data.batch)) == smoke.smoke.steps


def test_a_recipe_is_found_by_path_by_name_and_by_its_shelf_path_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("quickstart", "quickstart.yaml", "recipes/quickstart.yaml", str(parse.shelf("recipes") / SHELF[0])):
        assert parse.locate(name).is_file()
    with pytest.raises(RecipeError, match="recipes/quikstart.yaml: no such recipe; did you mean 'quickstart'"):
        parse.locate("recipes/quikstart.yaml")


def test_loading_and_checking_a_recipe_imports_no_paddle():
    code = (
        "import sys\nfrom ssld.config import recipe\nfrom ssld.listing import load_plan\n"
        "plan = load_plan('quickstart', ['seed=1'], smoke=True)\nplan.digest, recipe.dump(plan)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('paddle', 'nvidia', 'wandb', 'matplotlib')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
