"""Losses with layers of their own in a whole stage: they are trained, kept, resumed bit for bit, and never exported."""

from dataclasses import replace

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.distill import checkpoint
from ssld.distill.teacher import TeacherLogits
from ssld.errors import RecipeError, RunError
from ssld.losses import build_terms
from ssld.runtime import seed_networks
from tests.unit.test_stage import CLASSES, DATA, PLAIN, SIZE, acting, broken, lines, network, run, state
from tests.unit.test_stage import images as images  # a fixture

LOSSES = {
    "ce": {},
    "kd": {"kind": "kl", "temperature": 4.0, "weight": {"at": [[0, 0.1], [2, 1.0]]}},
    "dkd": {"weight": 0.1},
    "hint": {"student": "stage3", "teacher": "stage3", "weight": 10},
    "hint2": {"kind": "hint", "student": "stage2", "teacher": "stage2"},
    "at": {"student": ["stage1", "stage3"], "teacher": ["stage1", "stage3"], "weight": 100},
    "crd": {"width": 8, "negatives": 12, "weight": 0.1},
    "mgd": {"weight": 10},
    "ctkd": {"ramp": 2, "weight": 0.1},
    "pskd": {"weight": 0.1},
    "vid": {"weight": 0.1},  # on the stages that both networks have
    "byot": {"weight": 0.1},
}
STAGE = replace(
    PLAIN,
    epochs=3,  # of two steps
    loss=build_terms(LOSSES),
    optim=replace(PLAIN.optim, lr=0.01, accumulate=2, weight_decay=1e-4),
    checkpoint_minutes=0,  # after every step
)
TERMS = ("hint", "hint2", "crd", "mgd", "ctkd", "pskd", "vid", "byot")


@pytest.fixture(scope="module")
def teacher():
    seed_networks(7)
    other = models.create("MobileNetV3_small_x0_5", num_classes=CLASSES, in_size=SIZE)
    return TeacherLogits(other, "running", DATA, SIZE, DATA.mean, DATA.std, STAGE.teacher_reads)


@pytest.fixture(scope="module")
def whole(images, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("helped")
    net, _ = run(images, folder, STAGE, teacher)
    return net, checkpoint.load(folder / "stage"), lines(folder)


def test_every_helper_is_trained_and_its_memory_is_written(whole, images, teacher, tmp_path):
    _, kept, _ = whole
    found = kept.tensors["helpers"]
    assert {key.partition(".")[0] for key in found} == set(TERMS)
    run(images, tmp_path, replace(STAGE, epochs=0.5), teacher)  # one step: what the layers were before is near it
    first = checkpoint.load(tmp_path / "stage").tensors["helpers"]
    still = {key for key in found if found[key].tobytes() == first[key].tobytes()}
    assert still == {"crd.z"}, "a constant of the first batch; all else moves with every step"
    assert (found["crd.z"] > 0).all()


@pytest.mark.parametrize("number", [3, 7])  # of twelve micro-batches
def test_a_stage_with_helpers_that_is_stopped_ends_with_the_same_weights_and_helpers(
    whole, images, teacher, number, tmp_path
):
    with pytest.raises(OSError, match="stops here"), acting(number, broken):
        run(images, tmp_path, STAGE, teacher)
    net, _ = run(images, tmp_path, STAGE, teacher)
    assert state(net) == state(whole[0])
    again = checkpoint.load(tmp_path / "stage")
    for part in ("helpers", "optimizer"):
        assert {key: value.tobytes() for key, value in again.tensors[part].items()} == {
            key: value.tobytes() for key, value in whole[1].tensors[part].items()
        }


def test_a_trained_temperature_is_logged_with_the_losses(whole):
    records = [record for record in whole[2] if "ctkd/temperature" in record]
    assert records
    assert 1 < records[-1]["ctkd/temperature"] < 21


def test_what_a_stage_hands_on_is_the_student_alone(whole):
    net, kept, _ = whole
    assert net.state_dict().keys() == network().state_dict().keys() == kept.tensors["model"].keys()


def test_a_stage_without_helpers_has_none_in_its_checkpoint(images, tmp_path):
    run(images, tmp_path, PLAIN)
    assert set(checkpoint.load(tmp_path / "stage").tensors) == {"model", "optimizer"}


def test_helpers_stay_in_training_mode_when_only_the_head_is_trained(images, teacher, tmp_path):
    run(images, tmp_path, replace(STAGE, train="head", loss=build_terms({"ce": {}, "hint": {}})), teacher)
    found = checkpoint.load(tmp_path / "stage").tensors["helpers"]
    assert np.abs(found["hint.bn._mean"]).max() > 0, "its batch norm has seen batches"


def test_an_average_and_its_evaluation_are_of_the_student_alone(images, teacher, tmp_path):
    net, _ = run(images, tmp_path, replace(STAGE, optim=replace(STAGE.optim, ema=0.9)), teacher)
    kept = checkpoint.load(tmp_path / "stage").tensors
    assert kept["average"].keys() == net.state_dict().keys()


class Loose(nn.Layer):
    """A network with a layer that nothing reads."""

    arch, num_classes = "Loose", CLASSES

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2D(3, 4, 3), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(4, CLASSES))
        self.forgotten = nn.Linear(4, 4)

    def forward(self, x):
        return self.body(x)


def test_a_trained_parameter_that_no_loss_reaches_stops_the_stage_at_its_first_step(images, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.unit.test_stage.network", Loose)
    wanted = r"stage distill: no loss reaches the parameter 'forgotten\.weight'; freeze it"
    with pytest.raises(RunError, match=wanted):
        run(images, tmp_path, PLAIN)


def test_a_network_without_a_classifier_cannot_train_its_head(images, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.unit.test_stage.network", Loose)
    with pytest.raises(RunError, match="train: head: Loose does not say which layer makes its logits"):
        run(images, tmp_path, replace(PLAIN, train="head"))


def test_a_network_without_taps_is_told_what_a_loss_wants(images, teacher, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.unit.test_stage.network", Loose)
    with pytest.raises(RunError, match=r"Loose: a loss reads 'stage\d', and this network gives logits alone"):
        run(images, tmp_path, replace(STAGE, loss=build_terms({"hint": {}})), teacher)


def test_maps_that_no_regressor_brings_together_are_refused(images, teacher, tmp_path):
    hint = build_terms({"hint": {"student": "stage4", "teacher": "stage1"}})
    with pytest.raises(RecipeError, match="a map of 1 pixels a side cannot become one of 4"):
        run(images, tmp_path, replace(STAGE, loss=hint), teacher)


def test_negatives_follow_from_step_and_image_and_are_of_other_classes(teacher):
    from ssld.losses import About

    labels = np.array([0, 1, 1, -1, 2, 0, -1, 1])
    shapes = {"embedding": (6,)}
    about = About(
        student=shapes, teacher=shapes, classes=3, images=8, labels=labels, steps=4, steps_per_epoch=2, micro=4,
        world=1, seed=3,
    )  # fmt: skip
    layer = build_terms({"crd": {"negatives": 400}})["crd"].loss.helpers(about)
    index = paddle.to_tensor(np.arange(8))
    chosen = layer.draw(index, 5).numpy()
    assert (chosen == layer.draw(index, 5).numpy()).all()
    assert (chosen[2:4] == layer.draw(index[2:4], 5).numpy()).all(), "whatever else is in the batch"
    assert (chosen != layer.draw(index, 6).numpy()).any()
    assert (chosen[:, 0] == np.arange(8)).all()
    for image, others in enumerate(chosen[:, 1:]):
        same = {image} if labels[image] < 0 else set(np.flatnonzero(labels == labels[image]))
        assert set(others) == set(range(8)) - same
