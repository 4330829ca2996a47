"""Losses that need the teacher's logit of every class: a label cache that keeps k of them is refused for these."""

import numpy as np
import paddle
import pytest

from ssld.errors import RecipeError
from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.objective import Objective
from ssld.losses.overview import methods
from ssld.losses.registry import built_in
from ssld.plans import load_plan
from tests.unit.some_recipe import TREE as OTHER
from tests.unit.some_recipe import changed, written

IMAGES, CLASSES, WIDTH = 12, 10, 8
TREE = changed(OTHER, "teacher.norm", "running")  # on statistics of a batch no label cache is made
EVERY_CLASS = [name for name, cls in built_in().items() if cls.every_class]
SMALL = {"mealv2": {"divisor": 2}}  # its layers for few classes
PROBABILITIES = {"kl": {}, "soft_ce": {}, "js": {}, "deit": {}, "wsld": {"temperature": 1.0}, "ofa": {"student": []}}


def outputs(logits, gradient=False):
    """Whatever a loss may read beside the logits is drawn, the same every time."""
    draw = np.random.default_rng(1)
    given = {"logits": logits, "strong.logits": 0.9 * logits, "embedding": draw.normal(size=(IMAGES, WIDTH))}
    given["map"] = draw.normal(size=(IMAGES, WIDTH, 2, 2))
    weights = {"classifier.weight": draw.normal(size=(WIDTH, CLASSES)), "classifier.bias": np.zeros(CLASSES)}
    tensors = [{name: paddle.to_tensor(value) for name, value in named.items()} for named in (given, weights)]
    return Outputs(tensors[0], weights=tensors[1])


@pytest.fixture
def teacher():
    """Logits of a teacher that is sure of the true class, and has much to say of the others; and what is left of them
    where the largest one is kept and the others share the remaining probability."""
    paddle.set_default_dtype("float64")
    draw = np.random.default_rng(0)
    label = np.arange(IMAGES) % 5
    logits = -10.0 - draw.exponential(6.0, size=(IMAGES, CLASSES))
    logits[np.arange(IMAGES), label] = 0.0
    kept = logits == 0
    others = np.where(kept, 0.0, np.exp(logits)).sum(axis=1, keepdims=True) / (CLASSES - 1)
    yield label, logits, np.where(kept, logits, np.log(others))
    paddle.set_default_dtype("float32")


@pytest.fixture
def load(tmp_path):
    return lambda tree: load_plan(str(written(tmp_path, tree)), [])


def computed(kind, options, label, logits):
    """The value of a loss, and its gradient of the student's logits."""
    objective = Objective(build_terms({kind: options}))
    student = outputs(np.random.default_rng(2).normal(size=(IMAGES, CLASSES)))
    student["logits"].stop_gradient = False
    taught = outputs(logits)

    def about(name):
        paddle.seed(0)
        shapes = [{name: tuple(tensor.shape[1:]) for name, tensor in given.items()} for given in (student, taught)]
        return About(
            student=shapes[0], teacher=shapes[1], classes=CLASSES, images=IMAGES, labels=label, steps=2,
            steps_per_epoch=1, micro=IMAGES, world=1, seed=0,
        )  # fmt: skip

    batch = {"label": paddle.to_tensor(label), "index": paddle.arange(IMAGES), "step": 0, "epoch": 1}
    total, _ = objective(student, taught, batch, objective.helpers(about))
    total.backward()
    gradient = student["logits"].grad
    return np.array([float(total)]), np.zeros(1) if gradient is None else gradient.numpy()


def change(kind, options, label, whole, filled):
    """How far value and gradient are from those of the whole logits, as a share of them; the larger share."""
    pairs = zip(computed(kind, options, label, whole), computed(kind, options, label, filled), strict=True)
    return max(np.abs(b - a).sum() / max(np.abs(a).sum(), 1e-12) for a, b in pairs)


def test_every_loss_of_a_teachers_logits_has_decided():
    """The others than those of PROBABILITIES are divergences in which a class counts as much as its probability, of
    either network, for one teacher or several."""
    read = {kind for kind in built_in() if "logits" in build_terms({kind: {}})[kind].loss.reads.teacher}
    assert read - set(EVERY_CLASS) == {*PROBABILITIES, "ssld", "aver", "ebkd", "ca_mkd", "sskd"}
    assert {"dist", "lskd", "normkd", "rld", "dkd"} <= set(EVERY_CLASS)


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_a_loss_that_says_so_is_another_one_where_the_small_logits_are_lost(kind, teacher):
    assert change(kind, SMALL.get(kind, {}), *teacher) > 0.02


@pytest.mark.parametrize("kind", PROBABILITIES)
def test_a_loss_of_probabilities_is_the_same(kind, teacher):
    assert not built_in()[kind].every_class
    assert change(kind, PROBABILITIES[kind], *teacher) < 5e-3


@pytest.mark.parametrize("kind", EVERY_CLASS)
def test_a_cache_of_some_classes_is_refused_for_it_and_one_of_all_is_not(kind, load):
    loss = {kind: {"kind": kind, **({"unlabelled": "ignore"} if "unlabelled" in options_of(kind) else {})}}
    tree = changed(TREE, "stages.distill.loss", loss)
    if "views" in next(method.needs for method in methods() if method.name == kind):
        tree = changed(tree, "stages.distill.data.views", {"strong": {"auto": "randaugment"}})
    if inside(kind):
        with pytest.raises(RecipeError, match=rf"stages\.distill\.loss\.{kind}: reads .* of the teacher, and a label"):
            load(changed(tree, "stages.distill.labels", {"k": 3}))
        return
    advice = rf"loss\.{kind}: reads the logits of every class, and the label cache keeps 3 of 10; set stages\.distill\."
    with pytest.raises(RecipeError, match=advice + "labels.k: null$"):
        load(changed(tree, "stages.distill.labels", {"k": 3}))
    assert load(changed(tree, "stages.distill.labels", {"k": None})).stages["distill"].labels.k is None
    assert load(changed(tree, "stages.distill.labels", {"k": 10})).stages["distill"].labels.k == 10


def options_of(kind):
    return next(method.options for method in methods() if method.name == kind)


def inside(kind):
    """Whether it reads more of a teacher than logits, which no label cache has."""
    reads = build_terms({kind: {}})[kind].loss.reads
    return bool(reads.teacher - {"logits"} or reads.weights.get("teacher"))


def test_a_cache_is_refused_for_a_loss_that_reads_the_weights_of_the_teacher(load):
    tree = changed(TREE, "stages.distill.loss", {"wkd_l": {"unlabelled": "ignore"}})
    tree = changed(tree, "stages.distill.labels", {"k": None})
    with pytest.raises(RecipeError, match="reads the classifier of the teacher, and a label"):
        load(tree)


def test_a_form_without_a_teacher_may_stand_beside_a_cache_of_another_loss(load):
    loss = {"ssld": {}, "tfkd": {"form": "regularise", "unlabelled": "ignore"}}
    tree = changed(changed(TREE, "stages.distill.loss", loss), "stages.distill.labels", {"k": 3})
    assert load(tree).stages["distill"].labels.k == 3
