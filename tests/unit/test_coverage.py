"""How much of a claim a result covers is worked out from its plan and its images."""

import json

import pytest

from ssld.config import coverage, recipe
from ssld.config.recipe import Plan
from ssld.data import imagenet
from ssld.errors import RecipeError
from tests.unit.some_recipe import TREE, changed, written

IMAGENET = changed(
    changed(TREE, "stage.data.train", ["imagenet/train_list.txt"]), "stage.data.val", "imagenet/val_list.txt"
)


@pytest.fixture
def load(tmp_path):
    def plan(*overrides, tree=TREE, smoke=False):
        return recipe.load(written(tmp_path, tree), list(overrides), smoke=smoke)

    return plan


def result_of(plan: Plan, val: int = 80, images: int = 80) -> dict:
    """What a run of the plan on so many training images leaves."""
    stages = {
        name: {"steps": max(1, round(stage.epochs * (images // stage.data.batch)))}
        for name, stage in plan.stages.items()
    }
    tree = json.loads(json.dumps(recipe.plan_tree(plan)))
    return {"recipe": plan.name, "digest": plan.digest, "plan": tree, "stages": stages, "images": {"val": val}}


def test_a_recipe_as_it_stands_is_full_and_so_it_is_for_another_seed(load):
    assert coverage.of_run(result_of(load()), load()) == "full"
    assert coverage.of_run(result_of(load("seed=3")), load()) == "full"


@pytest.mark.parametrize(
    "override",
    [
        "bench.repeats=1",
        "export.gate_images=8",
        "stages.distill.data.threads=1",
        "stages.distill.data.eval_batch=4",
        "stages.distill.eval_every=3",
        "stages.distill.checkpoint_minutes=1",
        "title=x",
        "teacher.gate=0",
    ],
)
def test_what_does_not_bear_on_the_training_leaves_it_full(override, load):
    assert coverage.of_run(result_of(load(override)), load()) == "full"


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("stages.distill.epochs=2", "stages.distill.epochs"),
        ("stages.distill.data.batch=4", "stages.distill.data.batch"),
        ("stages.distill.data.train=[d/train.txt]", "stages.distill.data.train"),
        ("stages.distill.data.val=other/val.txt", "stages.distill.data.val"),
        ("stages.distill.optim.lr=0.5", "stages.distill.optim.lr"),
        ("student.arch=MobileNetV3_small_x0_5", "student.arch"),
    ],
)
def test_what_bears_on_it_makes_it_reduced_and_is_named(override, key, load):
    plan = load(override)
    assert coverage.of_run(result_of(plan), load()) == "reduced"
    assert list(coverage.changes(plan, load())) == [key]


def test_a_changed_key_is_told_with_both_values(load):
    assert coverage.changes(load("stages.distill.epochs=2"), load()) == {"stages.distill.epochs": (4.0, 2.0)}


def test_a_smoke_run_is_smoke(load):
    assert coverage.of_run(result_of(load(smoke=True)), load()) == "smoke"


def test_a_recipe_that_the_shelf_does_not_have_is_not_called_full(load):
    assert coverage.of_run(result_of(load()), None) == "reduced"


@pytest.mark.parametrize(
    ("val", "images", "found"),
    [(50_000, 1_281_167, "full"), (49_999, 1_281_167, "reduced"), (50_000, 1_200_000, "reduced")],
)
def test_of_imagenet_all_images_are_needed(val, images, found, load):
    plan = load(tree=changed(IMAGENET, "stages.distill.data.train", ["imagenet/train_list.txt"]))
    assert coverage.of_run(result_of(plan, val, images), plan) == found


def test_of_a_pool_whose_size_nobody_knows_the_other_stages_are_counted(load):
    plan = load(tree=IMAGENET)
    whole = result_of(plan, 50_000, 1_281_167)
    assert plan.stages["distill"].data.train == ("d/train.txt", "d/more.txt")
    whole["stages"]["distill"]["steps"] = 5
    assert coverage.of_run(whole, plan) == "full"
    whole["stages"]["finetune"]["steps"] -= 1
    assert coverage.of_run(whole, plan) == "reduced"


def test_keys_that_came_later_have_their_defaults_in_older_results(load):
    older = result_of(load())
    del older["plan"]["prepare"], older["plan"]["teacher"]["engine"]
    assert coverage.of_run(older, load()) == "full"


def test_a_result_whose_plan_holds_no_longer_is_one_line(load):
    broken = result_of(load())
    broken["plan"]["stages"]["distill"]["epoch"] = 3
    with pytest.raises(RecipeError, match=r"^some: plan of the result \w{12}: stages.distill.epoch: unknown key"):
        coverage.of_run(broken, load())


def test_a_list_is_full_with_fifty_images_of_each_of_the_thousand_classes():
    assert coverage.of_list([50] * 1000) == "full"
    assert coverage.of_list([50] * 999) == "reduced"
    assert coverage.of_list([51, 49] * 500) == "reduced"
    assert coverage.of_list([8]) == "reduced"


def test_the_counts_are_those_that_the_preparation_checks():
    assert list(coverage.IMAGES.values()) == [imagenet.TRAIN_IMAGES, imagenet.VAL_IMAGES]
    assert coverage.CLASSES * coverage.OF_A_CLASS == imagenet.VAL_IMAGES
    assert coverage.CLASSES == imagenet.CLASSES


def test_a_recipe_of_the_shelf_is_found_by_the_name_of_its_plan():
    found = coverage.shelf_recipe("quickstart")
    assert found is not None
    assert (found[0], found[1].name) == ("recipes/quickstart.yaml", "quickstart")
    assert coverage.shelf_recipe("quickstar") is None
    assert coverage.cited_plan("recipes/quickstart.yaml") == found[1]
