"""A published number is a baseline only on its own images; a student is distilled only where a teacher taught it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssld import result
from ssld.config import baseline, cards, recipe
from ssld.config.recipe import Plan
from ssld.data import read_list
from ssld.data.lists import list_text
from ssld.distill import metrics
from ssld.distill.runs import Run
from ssld.distill.teachers import load_teacher
from ssld.report.headline import baseline_remark, training_word
from ssld.report.summary import names
from ssld.runtime import Runtime
from tests.unit.some_recipe import TREE, changed, written

LABELS = np.repeat(np.arange(1000), 50)
PATHS = [f"val/ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 50_001)]
WNIDS = [f"n{number:08d}" for number in range(1000)]
PLAIN = {
    "classes": 1000,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "stages": {
        "plain": {
            "epochs": 1,
            "data": {"train": ["mine/train.txt"], "val": "mine/val.txt", "size": 32},
            "loss": {"ce": {}},
            "optim": {"lr": 0.1},
        }
    },
}
PUBLISHED = 53.03  # of MobileNetV3_small_x0_35, on its card


def listed(root: Path, paths: list[str], labels: Any, classes: list[str] | None = None, folder: str = "mine") -> Path:
    """A list file, and the classes.txt beside it where there is one; the images are not there."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "val.txt").write_text(list_text(paths, labels))
    if classes is not None:
        (root / folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return root / folder / "val.txt"


def plan_of(folder: Path, tree: dict[str, Any] = PLAIN, *overrides: str, smoke: bool = False) -> Plan:
    return recipe.load(written(folder, tree), overrides, smoke=smoke)


def scores(top1: float, classes: int = 10) -> dict[str, Any]:
    """Of ten images of which so many percent are right."""
    labels = np.arange(10) % classes
    right = np.arange(10) < top1 / 10
    return metrics.summary(metrics.score(np.eye(classes)[np.where(right, labels, labels - 1)], labels), classes)


def described(folder: Path, plan: Plan, teacher: float | None = None, **tops: float) -> dict[str, Any]:
    """The result of a run of the plan whose last student is right on 60 % of its images; `tops`: of other stages."""
    found = {"student": scores(60, plan.classes)}
    found |= {} if teacher is None else {"teacher": scores(teacher, plan.classes)}
    stages = {name: {"top1": tops.get(name, 60.0)} for name in plan.stages}
    run = Run(plan, folder, folder, Runtime(rank=0, world=1, gpu=None))
    asked = list(plan.teachers_of(plan.compared)) if plan.compared else []
    compared = load_teacher(run, asked[0], fresh=True) if asked else None
    return result.describe(run, stages, found, 10, compared)


# --- which images


def test_the_whole_validation_set_is_told_by_its_counts_in_any_order(tmp_path: Path) -> None:
    assert baseline.other_images(PATHS, LABELS, []) is None
    assert baseline.other_images(PATHS[::-1], LABELS[::-1], WNIDS) is None
    files = read_list(listed(tmp_path, PATHS, LABELS, WNIDS), tmp_path / "mine", 1000)
    assert baseline.other_images(files.paths, files.labels, baseline.class_lines(tmp_path / "mine/val.txt")) is None


@pytest.mark.parametrize(
    ("paths", "labels", "classes", "held"),
    [
        (PATHS[:-1], LABELS[:-1], [], "has 49,999 different images of 1,000 classes"),
        (PATHS, np.r_[0, LABELS[:-1]], [], "has 50,000 different images of 1,000 classes"),
        (PATHS, LABELS + 1, [], "has 50,000 different images of 1,000 classes"),
        (PATHS, LABELS // 100, [], "has 50,000 different images of 10 classes"),
        ([*PATHS[:-1], PATHS[0]], LABELS, [], "has 49,999 different images of 1,000 classes"),
        ([*PATHS[:-1], f"./val/../{PATHS[0]}"], LABELS, [], "has 49,999 different images of 1,000 classes"),
        (
            [f"train/{WNIDS[label]}_{number}.JPEG" for number, label in enumerate(LABELS)], LABELS, WNIDS,
            "has images that are named as the training images are",
        ),
        (PATHS, LABELS, [f"shoe {number}" for number in range(1000)], "names other classes"),
        (PATHS, LABELS, WNIDS[::-1], "names other classes"),
        (PATHS, LABELS, WNIDS[:-1], "names other classes"),
    ],
    ids=["fewer", "uneven", "from 1", "ten", "twice", "twice in other words", "held out", "own", "order", "few"],
)  # fmt: skip
def test_other_lists_are_not_taken_for_it(paths: list[str], labels: Any, classes: list[str], held: str) -> None:
    said = baseline.other_images(paths, labels, classes)
    assert said is not None
    assert said.startswith("the card's published number is of ImageNet's 50,000 validation images, 50 of each class; ")
    assert held in said


def test_a_label_of_thousands_of_digits_is_that_of_another_list(tmp_path: Path) -> None:
    listed(tmp_path, PATHS, [*LABELS[:-1], "9" * 5000], WNIDS)
    assert "has 50,000 different images of 1,001 classes" in str(baseline.missing(plan_of(tmp_path), tmp_path))


# --- the result of a run


def test_on_the_published_images_the_published_number_is_the_baseline_whatever_the_folder_is_called(
    tmp_path: Path,
) -> None:
    listed(tmp_path, PATHS, LABELS, WNIDS)
    found = described(tmp_path, plan_of(tmp_path))
    assert found["baseline"]["top1"] == PUBLISHED
    assert found["baseline"]["source"] != "measured"
    assert found["gain"] == pytest.approx(60 - PUBLISHED)
    assert (found["baseline_missing"], found["images"]["imagenet"]) == (None, True)


def test_a_list_of_a_thousand_classes_with_other_counts_has_no_baseline(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, changed(PLAIN, "stages.plain.data.val", "imagenet/val.txt"))
    listed(tmp_path, PATHS, np.r_[0, LABELS[:-1]], WNIDS, "imagenet")
    found = described(tmp_path, plan)
    assert (found["baseline"], found["gain"], found["images"]["imagenet"]) == (None, None, False)
    assert found["baseline_missing"].startswith(
        "the recipe names none, and the card's published number is of ImageNet's"
    )


@pytest.mark.parametrize(
    ("overrides", "smoke", "reason"),
    [
        (["classes=10"], False, "the card's published number is of ImageNet's 1,000 classes, not of these 10"),
        ([], True, "the images of a smoke run are fake"),
        (
            ["student.pretrained=ResNet50_vd", "stages.plain.init=pretrained"], False,
            "the card's published training started from fresh weights, this one from student.pretrained",
        ),
    ],
    ids=["classes", "smoke", "pretrained"],
)  # fmt: skip
def test_why_there_is_no_baseline_is_said(overrides: list[str], smoke: bool, reason: str, tmp_path: Path) -> None:
    listed(tmp_path, PATHS, LABELS)
    plan = plan_of(tmp_path, PLAIN, *overrides, smoke=smoke)
    assert baseline.missing(plan, tmp_path) == f"the recipe names none, and {reason}"
    assert baseline.missing(plan_of(tmp_path, TREE, smoke=smoke), tmp_path) is None  # it names a stage


def test_an_architecture_without_a_published_plain_training_has_no_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = baseline.cards.find_student("MobileNetV3_small_x0_35")
    monkeypatch.setattr(baseline.cards, "find_student", lambda _: card)
    monkeypatch.delitem(card.published, "plain")
    said = baseline.missing(plan_of(tmp_path), tmp_path)
    assert said == "the recipe names none, and no plain training of MobileNetV3_small_x0_35 is published"


def test_the_stage_that_a_recipe_names_is_its_baseline_on_any_images(tmp_path: Path) -> None:
    listed(tmp_path, ["a.png"] * 10, np.arange(10), folder="d")
    found = described(tmp_path, plan_of(tmp_path, TREE), plain=50.0, teach=80.0)
    assert found["baseline"] == {"top1": 50.0, "source": "measured"}
    assert (found["gain"], found["baseline_missing"]) == (pytest.approx(10.0), None)
    assert (found["teacher"]["top1"], found["teacher"]["source"]) == (80.0, "measured")


@pytest.mark.parametrize(
    ("baseline_of", "steps", "said"),
    [
        (
            "plain", {"plain": 969, "distill": 300, "finetune": 54},
            "the baseline (plain) has 969 steps, the student (distill + finetune) 354; stages.plain.epochs=1.096 gives "
            "both as many",
        ),
        (
            "plain", {"plain": 300, "distill": 900, "finetune": 60},
            "the baseline (plain) has 300 steps, the student (distill + finetune) 960; stages.plain.epochs=9.6 gives "
            "both as many",
        ),
        ("plain", {"plain": 330, "distill": 300, "finetune": 54}, None),
        ("distill", {"plain": 1, "distill": 300, "finetune": 999}, None),
        (None, {"plain": 969, "distill": 300, "finetune": 54}, None),
    ],
    ids=["longer", "shorter", "about equal", "the student goes on from it", "none"],
)  # fmt: skip
def test_a_baseline_of_another_length_is_remarked(
    baseline_of: str | None, steps: dict[str, int], said: str | None, tmp_path: Path
) -> None:
    plan = plan_of(tmp_path, {**TREE, "baseline": baseline_of})
    assert baseline.unequal(plan, {"teach": 5, **steps}) == said
    listed(tmp_path, ["a.png"] * 10, np.arange(10), folder="d")
    found = described(tmp_path, plan, plain=50.0, distill=50.0, teach=80.0)
    for name, number in {"teach": 5, **steps}.items():
        found["stages"][name]["steps"] = number
    assert baseline_remark(found) == (
        said or (f"no baseline: {found['baseline_missing']}" if not baseline_of else None)
    )


def test_stages_that_both_trainings_continue_count_for_neither(tmp_path: Path) -> None:
    tree = {**TREE, "stages": {name: TREE["stages"][name] for name in ("teach", "distill", "plain", "finetune")}}
    plan = plan_of(tmp_path, changed(tree, "stages.plain.init", "distill"))
    assert baseline.unequal(plan, {"teach": 5, "distill": 1000, "plain": 100, "finetune": 100}) is None
    said = baseline.unequal(plan, {"teach": 5, "distill": 1000, "plain": 100, "finetune": 50})
    assert said is not None
    assert said.startswith("the baseline (plain) has 100 steps, the student (finetune) 50; stages.plain.epochs=1.5 g")


OF_A_CARD = changed(changed(PLAIN, "teacher", {"card": "ResNet50_vd_ssld"}), "stages.plain.loss", {"ssld": {}})


def test_the_published_number_of_a_teacher_stands_beside_a_student_on_the_published_images_alone(
    tmp_path: Path,
) -> None:
    listed(tmp_path, PATHS, LABELS)
    plan = plan_of(tmp_path, OF_A_CARD)
    teacher = described(tmp_path, plan, teacher=90)["teacher"]
    assert teacher["top1"] == cards.find_teacher(plan.teacher.card).top1
    assert teacher["source"] != "measured"
    assert "nll" not in teacher
    listed(tmp_path, PATHS[:1000], LABELS[:1000])
    teacher = described(tmp_path, plan, teacher=90)["teacher"]
    assert (teacher["top1"], teacher["source"], teacher["card"]) == (90.0, "measured", "ResNet50_vd_ssld")
    assert {"nll", "ece", "top5"} <= teacher.keys()
    assert described(tmp_path, plan)["teacher"]["top1"] is None  # it was not asked in this run


# --- before a run


def test_a_gain_is_a_number_of_a_run_only_where_it_will_have_a_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLD_DATA", str(tmp_path))
    assert "gain" in names(plan_of(tmp_path, TREE))
    assert "gain" in names(plan_of(tmp_path))  # the list is not there yet
    listed(tmp_path, PATHS, LABELS)
    assert "gain" in names(plan_of(tmp_path))
    listed(tmp_path, PATHS[:600], LABELS[:600])
    assert "gain" not in names(plan_of(tmp_path))
    assert "gain" not in names(plan_of(tmp_path, PLAIN, "classes=10"))
    assert "top1" in names(plan_of(tmp_path, PLAIN, "classes=10"))


# --- what the student is called


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("quickstart", "distilled"),
        ("plain/alexnet", "trained"),
        ("transfer/cifar10", "trained"),
        ("transfer/digits_from_fashion", "distilled"),  # its last stage goes on from one that a teacher taught
        ("fashion_mnist_int8_mobilenet", "distilled"),  # the float network is the teacher
        ("mobilenet_v3_large_x1_0_ssld", "distilled"),
    ],
)
def test_a_student_is_distilled_where_a_teacher_taught_a_stage_that_made_it(name: str, word: str) -> None:
    plan = recipe.load(name)
    assert baseline.training(plan) == word
    older = {"recipe": name, "digest": plan.digest, "plan": recipe.plan_tree(plan), "student": {"arch": "x"}}
    assert training_word(older) == word


def test_a_teacher_that_taught_another_stage_does_not_make_the_last_one_distilled(tmp_path: Path) -> None:
    tree = changed(TREE, "stages.last", {"epochs": 1, "loss": {"ce": {}}})
    assert baseline.training(plan_of(tmp_path, tree)) == "trained"
    assert baseline.training(plan_of(tmp_path, changed(tree, "stages.last.init", "finetune"))) == "distilled"
    assert described(tmp_path, plan_of(tmp_path, tree))["student"]["training"] == "trained"


def test_post_training_quantisation_of_a_plain_student_does_not_make_it_distilled() -> None:
    plan = recipe.load("fashion_mnist_int8_mobilenet", ["stages.qad.epochs=0"])
    assert baseline.training(plan) == "trained"
