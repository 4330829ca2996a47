"""Losses and networks of other people, and what is wrong with them: one line at the first step, no wrong number."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ssld.distill.images import check_images
from ssld.errors import DataError, RecipeError, RunError
from ssld.losses import Loss, Reads, build_terms
from ssld.losses.base import Labelled
from ssld.losses.registry import built_in
from ssld.runtime import Runtime
from tests.unit.test_stage import CLASSES, PLAIN, run
from tests.unit.test_stage import images as images  # a fixture

LOGGED = {
    "logged raises": lambda: {}["share"],
    "a list is logged": lambda: [paddle.ones([])],
    "a float is logged": lambda: {"share": 0.5},
    "a vector is logged": lambda: {"share": paddle.ones([3])},
    "after_step raises": dict,
}


class Keeps(nn.Layer):
    """A layer without parameters that keeps something of past batches, and logs it."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def logged(self):
        return LOGGED[self.form]()

    def after_step(self, runtime):
        self.kept = {"a": 1, "b": 2}[self.form] if self.form == "after_step raises" else None


@dataclass(frozen=True)
class Of(Loss):
    """What `form` says of the logits."""

    form: str = "squares"

    reads: ClassVar = Reads()

    def helpers(self, about):
        if self.form in LOGGED:
            return Keeps(self.form)
        return [nn.Linear(*about.student["logits"], 1)] if self.form == "list" else None

    def __call__(self, student, teacher, batch, helpers):
        logits = student["logits"]
        forms = {
            "squares": lambda: logits.square(),
            "none": lambda: None,
            "raises": lambda: logits @ logits,
            "classes": lambda: logits.argmax(axis=-1),
            "detached": lambda: logits.detach().mean(axis=-1),
        }
        return forms[self.form]() if self.form in forms else logits.square().mean(axis=-1)


@dataclass(frozen=True)
class Column(Labelled):
    """Cross entropy as Paddle gives it for labels [N, 1]: a column, which would meet the mask [N] as a matrix."""

    reads: ClassVar = Reads(batch={"label"})

    def __call__(self, student, teacher, batch, helpers):
        return F.cross_entropy(student["logits"], batch["label"].unsqueeze(-1), reduction="none")


@dataclass(frozen=True)
class Reader(Loss):
    """It reads labels and says nothing of images without one."""

    reads: ClassVar = Reads(batch={"label"})


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (Of("squares"), RecipeError, r"loss own: Of gives \[8, 4\] for 8 images; return a tensor \[8\]"),
        (Of("none"), RecipeError, "loss own: Of gives a NoneType for 8 images"),
        (Of("raises"), RecipeError, r"loss own failed in line \d+ of test_losses_of_others.py \(ValueError: "),
        (Of("list"), RecipeError, r"loss own: helpers\(\) gives a list, not a layer; return a paddle.nn.Layer"),
        (Of("logged raises"), RecipeError, r"loss own: logged of its layers failed in line \d+ of .*KeyError: 'share'"),
        (
            Of("a list is logged"),
            RecipeError,
            "loss own: logged of its layers gives a list; return a dict of names",
        ),
        (
            Of("a float is logged"),
            RecipeError,
            "loss own: logged of its layers gives a float for 'share'; return a",
        ),
        (
            Of("a vector is logged"),
            RecipeError,
            r"loss own: logged of its layers gives \[3\] for 'share'; return a",
        ),
        (Of("after_step raises"), RecipeError, r"loss own: after_step of its layers failed in line \d+ of .*KeyError"),
        (Of("classes"), RunError, "stage distill: loss own: its value has no gradient, so it trains nothing"),
        (Of("detached"), RunError, "stage distill: loss own: its value has no gradient, so it trains nothing"),
        (Column(unlabelled="ignore"), RecipeError, r"loss own: Column gives \[8, 1\] for 8 images"),
    ],
)
def test_what_is_no_loss_is_one_line_at_the_first_step(loss, error, message, images, tmp_path):
    terms = build_terms({"ce": {}, "own": {}}, {"ce": type(build_terms({"ce": {}})["ce"].loss), "own": type(loss)})
    terms["own"] = replace(terms["own"], loss=loss)
    with pytest.raises(error, match=message):
        run(images, tmp_path, replace(PLAIN, loss=terms))
    assert paddle.is_grad_enabled()


class TwoHeads(nn.Layer):
    """Another output in training mode, as networks with auxiliary classifiers have it."""

    def __init__(self, **_):
        super().__init__()
        self.head = nn.Linear(3, CLASSES)

    def forward(self, images):
        logits = self.head(images.mean(axis=[2, 3]))
        return (logits, logits) if self.training else logits


class Failing(TwoHeads):
    def forward(self, images):
        return super().forward(images.flatten())


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (TwoHeads, RunError, "TwoHeads: gives a tuple for logits while it trains; return one tensor"),
        (Failing, RecipeError, r"Failing: a training step failed in line \d+ of test_losses_of_others.py \("),
    ],
)
def test_a_network_that_fails_in_training_mode_is_one_line(network, error, message, images, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.unit.test_stage.network", network)
    with pytest.raises(error, match=message):
        run(images, tmp_path, PLAIN)


def test_a_loss_that_ignores_every_image_of_its_stage_is_refused(images):
    train, val = images["train"], images["val"]
    stage = replace(PLAIN, loss=build_terms({"ce": {"unlabelled": "ignore"}}))
    check_images(stage, train, val, Runtime(rank=0, world=1, gpu=None))
    without = replace(train, labels=train.labels * 0 - 1)
    with pytest.raises(DataError, match="loss ce: no training image has a label, and it ignores such images"):
        check_images(stage, without, val, Runtime(rank=0, world=1, gpu=None))


def test_images_without_a_label_are_refused_before_the_first_step_unless_a_loss_says_what_becomes_of_them(images):
    train, val, alone = images["train"], images["val"], Runtime(rank=0, world=1, gpu=None)
    some = replace(train, labels=np.where(np.arange(len(train)) % 2, -1, train.labels))

    def check(loss):
        check_images(replace(PLAIN, loss=build_terms(loss, {**built_in(), "own": Reader})), some, val, alone)

    with pytest.raises(DataError, match="the loss dkd learns from labels; set its unlabelled to ignore or teacher_arg"):
        check({"ssld": {}, "dkd": {}})
    with pytest.raises(DataError, match="the loss sskd learns from labels; set its unlabelled to teacher_argmax, or"):
        check({"sskd": {}})
    with pytest.raises(DataError, match="the loss own learns from labels; use one that learns from the teacher, or gi"):
        check({"own": {}})
    for rule in ("ignore", "teacher_argmax"):
        check({"dkd": {"unlabelled": rule}})
    without = replace(train, labels=train.labels * 0 - 1)
    stage = replace(PLAIN, loss=build_terms({"ce": {"unlabelled": "teacher_argmax"}}))
    check_images(stage, without, val, alone)
    assert stage.is_taught


@dataclass(frozen=True)
class Own(Loss):
    """A loss that derives from `Loss` itself and says by an option of its own what an image without a label counts."""

    unlabelled: Literal["ignore", "error"] = "ignore"

    reads: ClassVar = Reads(batch={"label"})


@pytest.mark.parametrize(("option", "rule"), [("ignore", "ignore"), ("error", "refuse")])
def test_the_option_unlabelled_of_a_loss_counts_whatever_class_it_derives_from(option, rule):
    assert Own(unlabelled=option).on_unlabelled() == rule
    assert Of().on_unlabelled() == "refuse"
