"""Recipes: base, `stage:`, keys, types, overrides. What is wrong is one line that names file and key."""

import copy

import pytest

from ssld import yaml_text
from ssld.config import recipe
from ssld.errors import RecipeError
from ssld.losses.logit.dkd import Dkd
from tests.unit.some_recipe import TREE, changed, fails, written

OWN_LOSS = """
from dataclasses import dataclass
from typing import ClassVar

from ssld import Loss, Reads


@dataclass(frozen=True)
class Squares(Loss):
    power: int
    reads: ClassVar = Reads(teacher={"logits"})
"""


@pytest.fixture
def load(tmp_path):
    """A plan from a tree (by default TREE), overrides and options."""
    return lambda tree=TREE, *overrides, **options: recipe.load(written(tmp_path, tree), overrides, **options)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return recipe.load(written(tmp_path_factory.mktemp("recipe"), TREE))


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


def test_a_base_may_have_a_base_of_its_own_relative_to_its_folder(tmp_path, load):
    written(tmp_path, TREE, "_base/a.yaml")
    written(tmp_path, {"base": "a.yaml", "classes": 5, "title": "b"}, "_base/b.yaml")
    plan = load({"base": "_base/b.yaml", "title": "c"})
    assert (plan.title, plan.classes, list(plan.stages)) == ("c", 5, ["teach", "plain", "distill", "finetune"])


def test_bases_that_lead_back_to_themselves_are_refused(tmp_path, load):
    written(tmp_path, {"base": "b.yaml"}, "a.yaml")
    written(tmp_path, {"base": "a.yaml"}, "b.yaml")
    message = fails(load, {"base": "a.yaml"})
    assert "b.yaml: base: a.yaml leads back to itself; leave one of these bases out" in message


@pytest.mark.parametrize("base", ["quickstart", "quickstart.yaml", "recipes/quickstart.yaml"])
def test_a_base_is_a_name_of_the_shelf_from_any_folder(load, base):
    plan = load({"base": base, "title": "mine"})
    assert (plan.title, plan.stages.keys()) == ("mine", recipe.load("quickstart").stages.keys())
    student_and_teacher = {"student": {"arch": "ResNet18"}, "teacher": {"card": "ResNet50_vd_ssld"}}
    published = load({"base": "_base/ssld", **student_and_teacher, "stage": {"optim": {"lr": 1.0}}})
    assert published.student.arch == "ResNet18"


def test_a_base_beside_the_recipe_comes_before_one_of_the_shelf(tmp_path, load):
    written(tmp_path, {**TREE, "classes": 7}, "quickstart.yaml")
    assert load({"base": "quickstart.yaml"}).classes == 7


def test_a_missing_base_is_named(load):
    assert "base: no file" in fails(load, {**TREE, "base": "_base/nowhere.yaml"})
    assert "; did you mean 'quickstart'?" in fails(load, {**TREE, "base": "quikstart"})
    assert "base: should be the path or the name of one recipe" in fails(load, {**TREE, "base": ["a.yaml"]})


def test_each_stage_is_the_shared_block_with_its_own_keys_over_it(plan):
    finetune = plan.stages["finetune"]
    assert (finetune.optim.lr, finetune.optim.momentum) == (0.01, 0.8)
    assert plan.stages["plain"].optim.lr == 0.1
    assert finetune.data.batch == 8


def test_a_loss_term_without_a_weight_has_weight_1(load):
    assert load().stages["distill"].loss["ssld"].weight == 1.0
    given = changed(TREE, "stages.distill.loss", {"ssld": {"weight": 2}, "kl": {"temperature": 4}})
    tree = recipe.plan_tree(load(given))["stages"]["distill"]["loss"]
    unset = dict.fromkeys(("side", "min_teacher", "student_view", "teacher_view"))
    assert tree["ssld"] == {"kind": "ssld", "weight": 2.0, **unset}
    assert tree["kl"] == {"kind": "kl", "weight": 1.0, **unset, "temperature": 4.0}


def test_a_mapping_that_is_empty_in_the_plan_is_given_as_a_whole(load):
    teachers = {"a": {"card": "ResNet50_vd_ssld"}, "b": {"card": "ResNet50_vd_ssld_v2"}}
    tree = {**changed(TREE, "stages.distill.teachers", ["a", "b"]), "teachers": teachers}
    plan = load(tree, "stages.distill.combine.weights={a: 2, b: 1}")
    assert plan.stages["distill"].combine.weights == {"a": 2.0, "b": 1.0}
    with pytest.raises(RecipeError, match=r"override stages\.distill\.loss\.kl: no key 'kl'"):
        load(TREE, "stages.distill.loss={kl: {}}")


def test_a_default_of_a_loss_stands_in_the_plan_and_can_be_overridden(load):
    plan = load(changed(TREE, "stages.distill.loss", {"kl": {}}), "stages.distill.loss.kl.temperature=4")
    assert plan.stages["distill"].loss["kl"].loss.temperature == 4.0
    dot = load(
        changed(TREE, "stages.distill.loss", {"ce": {}, "kl": {}}),
        "stages.distill.optim.algorithm=dot",
        "stages.distill.loss.kl.side=distil",
    )
    assert dot.stages["distill"].loss["kl"].side == "distil"
    ramp = "stages.distill.loss.kl.weight={at: [[0, 0], [2, 1]]}"
    weight = load(changed(TREE, "stages.distill.loss", {"kl": {}}), ramp).stages["distill"].loss["kl"].weight
    assert weight.at == ((0.0, 0.0), (2.0, 1.0))


def test_the_losses_of_a_stage_are_added_to_the_shared_ones(load):
    shared = changed(TREE, "stage.loss", {"ce": {"smoothing": 0.1}})
    assert list(load(shared).stages["distill"].loss) == ["ce", "ssld"]


@pytest.mark.parametrize("value", [0, 0.1, [1]])
def test_a_loss_term_that_is_no_mapping_is_refused(load, value):
    message = fails(load, changed(TREE, "stages.distill.loss.ssld", value))
    assert "stages.distill.loss.ssld: " in message
    assert "is not a mapping; write ssld: {weight: 1.0}" in message


# --- YAML


@pytest.mark.parametrize(("text", "number"), [("1e-5", 1e-5), ("1E-5", 1e-5), ("2.5e+3", 2500.0), (".5e1", 5.0)])
def test_an_exponent_makes_a_number(tmp_path, text, number):
    file = written(tmp_path, f"a: {text}\n")
    value = yaml_text.read(file)["a"]
    assert (value, type(value)) == (number, float)


@pytest.mark.parametrize("text", ["1e5x", "e5", "v1e-5", "'1e-5'"])
def test_what_only_looks_like_an_exponent_stays_text(tmp_path, text):
    assert yaml_text.read(written(tmp_path, f"a: {text}\n"))["a"] == text.strip("'")


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path):
    file = written(tmp_path, "a: 1\nb:\n  c: 1\n  c: 2\n")
    with pytest.raises(RecipeError, match=r"some\.yaml: line 4: key 'c' stands twice; remove one$"):
        yaml_text.read(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: ]\n", "line 2: not valid YAML"),
        ("- 1\n- 2\n", "a recipe is a mapping of keys; this file holds a list"),
        ("", "a recipe is a mapping of keys; this file holds nothing"),
        (
            "a: !!python/object/apply:os.getcwd []\n",
            "line 1: the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'",
        ),
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
    assert fails(load, changed(TREE, "student.xyzzy", 1)).endswith(
        "unknown key; known: arch, bn_momentum, pretrained, code, options, taps, head"
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("classes", "ten", "classes: should be an integer from 2 to 1,000,000; got 'ten'"),
        ("stages.plain.epochs", [1], "stages.plain.epochs: should be a number from 0 to 1,000,000; got [1]"),
        ("stages.plain.data.augment.area", [1.0], "stages.plain.data.augment.area.1: "),
        (
            "stages.plain.optim.schedule",
            "cosin",
            "stages.plain.optim.schedule: Input should be 'cosine', 'cosine_by_epoch', 'step'",
        ),
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
    "overrides",
    [
        ["stages.distill.loss.ssld.kind=dkd", "stages.distill.loss.ssld.beta=2"],
        ["stages.distill.loss.ssld={beta: 2, kind: dkd}"],
    ],
)
def test_the_options_of_a_loss_that_an_override_names_can_be_overridden(load, overrides):
    assert load(TREE, *overrides).stages["distill"].loss["ssld"].loss == Dkd(beta=2.0)


def test_an_override_sees_the_block_that_the_one_before_it_gave(load):
    labels = (
        load(TREE, "teacher.norm=running", "stages.distill.labels={views: 2}", "stages.distill.labels.k=3")
        .stages["distill"]
        .labels
    )
    assert (labels.views, labels.k) == (2, 3)
    message = fails(load, TREE, "stages.distill.labels={views: 2}", "stages.distill.labels.kk=3")
    assert message == "override stages.distill.labels.kk: no key 'kk'; did you mean 'k'?"
    message = fails(load, TREE, "stages.distill.loss.ssld.kind=dkdd", "stages.distill.loss.ssld.beta=3")
    assert message == "override stages.distill.loss.ssld: no loss named 'dkdd'; did you mean 'dkd'?"


def test_code_that_an_override_names_is_loaded_and_kept(load, tmp_path):
    (tmp_path / "mine.py").write_text(OWN_LOSS)
    plan = load(TREE, "code=[mine.py]", "stages.distill.loss.ssld.kind=squares", "stages.distill.loss.ssld.power=3")
    assert (list(plan.code), plan.stages["distill"].loss["ssld"].loss.power) == (["mine.py"], 3)


@pytest.mark.parametrize("shared", [3, ["epochs"], "epochs: 3"])
def test_a_shared_block_that_is_no_mapping_is_refused(load, shared):
    assert f"stage: {shared!r} is not a mapping" in fails(load, {**TREE, "stage": shared})


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
        ("title=[1", "override title: not valid YAML (did not find expected ',' or ']'); correct or quote it"),
        ("student={arch: a, arch: b}", "override student: key 'arch' stands twice; remove one"),
    ],
)
def test_an_override_never_creates_a_key(load, override, message):
    assert fails(load, TREE, override) == message


def test_an_override_of_the_wrong_type_names_its_key(load):
    assert "stages.plain.epochs: should be a number from 0 to 1,000,000; got 'many'" in fails(
        load, TREE, "stages.plain.epochs=many"
    )
