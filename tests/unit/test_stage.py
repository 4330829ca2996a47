"""One stage: what it changes, what it saves, and that a stopped one ends where an uninterrupted one does."""

import json
import os
import re
import signal
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from paddle import nn

from ssld import models, track
from ssld.config.recipe import Augment, Data, Optim, Stage
from ssld.data import EvalLoader, Loader, fake, read_list
from ssld.distill import checkpoint
from ssld.distill.engine import in_engine
from ssld.distill.job import Job
from ssld.distill.stage import asked_everywhere, check_finite, run_stage
from ssld.distill.state import TrainState
from ssld.distill.teacher import TeacherLogits
from ssld.errors import RunError
from ssld.losses import build_terms
from ssld.losses.objective import Objective
from ssld.runtime import Runtime, seed_networks
from ssld.stopping import Stop

HERE = Runtime(rank=0, world=1, gpu=None)

ARCH, SIZE, CLASSES = "MobileNetV3_small_x0_35", 16, 4
DATA = Data(train=("train.txt",), val="val.txt", size=SIZE, batch=8, eval_batch=8, mean=(0.5,) * 3, std=(0.25,) * 3)
PLAIN = Stage(epochs=1, data=DATA, loss=build_terms({"ce": {}}), optim=Optim(lr=0.05), checkpoint_minutes=60)
EVERYTHING = replace(
    PLAIN,
    epochs=2,  # of two steps
    data=replace(DATA, augment=Augment(mixup=0.2)),
    loss=build_terms({"ssld": {}, "ce": {"smoothing": 0.1}}),
    optim=Optim(
        lr=0.05, weight_decay=1e-4, warmup_epochs=1, accumulate=2, ema=0.9, nesterov=True, stage_lr=(0.1, 1, 1, 1, 0.3)
    ),
    checkpoint_minutes=0,  # after every step
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    lists = fake(root, CLASSES, train=16, val=8, unlabelled=0, size=20)
    return {name: read_list(lists[key], root) for name, key in (("train", "train_labelled"), ("val", "val"))}


def network(seed=0):
    seed_networks(seed)
    return models.create(ARCH, num_classes=CLASSES, in_size=SIZE)


@pytest.fixture(scope="module")
def teacher():
    seed_networks(7)
    small = nn.Sequential(
        nn.Conv2D(3, 8, 3, 2), nn.BatchNorm2D(8), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 4)
    )
    return TeacherLogits(small, "batch", DATA, SIZE, DATA.mean, DATA.std)


class Raises(Objective):
    """The objective, but its call `number` (from 0) does something else first."""

    number, act, calls = -1, staticmethod(lambda loss: loss), 0

    def __call__(self, *args):
        Raises.calls += 1
        loss, parts = super().__call__(*args)
        return (Raises.act(loss) if Raises.calls - 1 == Raises.number else loss), parts


def run(images, folder, stage, teacher=None, peers=None):
    """(network, scores) of a stage in `folder`, begun or taken up."""
    folder.mkdir(exist_ok=True)
    data = stage.data
    options = {"mean": data.mean, "std": data.std, "threads": 1}
    job = Job(
        name="distill",
        stage=stage,
        folder=folder / "stage",
        seed=3,
        runtime=HERE,
        track=track.start(folder, track.About(name="n", run_id="i"), track.Options(wandb="disabled")),
        train=Loader(
            images["train"], size=SIZE, batch=data.batch, accumulate=stage.optim.accumulate, augment=data.augment,
            seed=11, **options,
        ),
        classes=CLASSES,
        labels=images["train"].labels,
        val=EvalLoader(images["val"], size=SIZE, resize=SIZE, batch=data.eval_batch, **options),
    )  # fmt: skip
    net = network()
    return net, run_stage(job, net, teacher, peers)


def state(net):
    return {key: value.numpy().tobytes() for key, value in net.state_dict().items()}


def lines(folder):
    """The records of metrics.jsonl without the speed."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "images_per_second"} for record in records]


def without_time(scores):
    return {key: value for key, value in scores.items() if key != "seconds"}


@pytest.fixture(scope="module")
def whole(images, teacher, tmp_path_factory):
    """(state, scores, records) of EVERYTHING, uninterrupted."""
    folder = tmp_path_factory.mktemp("whole")
    net, scores = run(images, folder, EVERYTHING, teacher)
    return state(net), without_time(scores), lines(folder)


def assert_ends_alike(whole, images, teacher, folder, stage=EVERYTHING):
    net, scores = run(images, folder, stage, teacher)
    assert (state(net), without_time(scores), lines(folder)) == whole


def test_a_stage_logs_every_step_and_evaluates_every_epoch(whole):
    _, scores, records = whole
    found = [(record["kind"], record["step"]) for record in records]
    assert found == [("train", 1), ("train", 2), ("eval", 2), ("train", 3), ("train", 4), ("eval", 4)]
    train, evaluated = records[0], records[-1]
    about = {"kind", "stage", "step", "epoch", "images"}
    assert train.keys() == about | {"loss", "loss/ssld", "loss/ce", "lr"}  # mixed: no top1
    assert evaluated.keys() == about | {"top1", "top5", "loss"}
    assert (evaluated["epoch"], evaluated["images"]) == (2, 32)
    numbers = {key: evaluated[key] for key in ("top1", "top5", "loss")}
    assert scores == {**numbers, "epochs": 2, "steps": 4, "images": 32}
    assert [record["lr"] for record in records[:2]] == pytest.approx([0.025, 0.05])


@contextmanager
def acting(number, act):
    """Inside, the loss of micro-batch `number` (from 0) passes through `act`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("number", number), ("act", staticmethod(act)), ("calls", 0)):
            patch.setattr(Raises, name, value)
        patch.setattr("ssld.distill.state.Objective", Raises)
        yield


def stopped(images, teacher, folder, number, act, stage=EVERYTHING):
    with pytest.raises((KeyboardInterrupt, OSError)), acting(number, act):
        run(images, folder, stage, teacher)


def broken(loss):
    raise OSError("the machine stops here")


@pytest.mark.parametrize("number", [0, 3, 4, 7])  # of eight micro-batches
def test_a_stage_stopped_anywhere_ends_with_the_same_weights_scores_and_records(
    whole, images, teacher, number, tmp_path
):
    stopped(images, teacher, tmp_path, number, broken)
    assert_ends_alike(whole, images, teacher, tmp_path)


def test_a_teacher_in_an_engine_which_works_ahead_teaches_the_same_and_resumes_alike(images, tmp_path):
    """Stopped while the engine has the next batch in hand. Against eager Paddle: the weights up to rounding."""
    eager = TeacherLogits(network(7), "running", DATA, SIZE, DATA.mean, DATA.std)
    engine = in_engine(eager, "onnxruntime", SIZE, 4, HERE)
    ends = {}
    for name, teacher in (("eager", eager), ("engine", engine)):
        net, scores = run(images, tmp_path / name, EVERYTHING, teacher)
        ends[name] = state(net), without_time(scores), lines(tmp_path / name)
    for key, value in network().state_dict().items():
        found, wanted = (np.frombuffer(ends[name][0][key], value.numpy().dtype) for name in ("engine", "eager"))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4, err_msg=key)
    stopped(images, engine, tmp_path / "stopped", 5, broken)
    assert_ends_alike(ends["engine"], images, engine, tmp_path / "stopped")


def test_a_stage_stopped_twice_ends_alike(whole, images, teacher, tmp_path):
    stopped(images, teacher, tmp_path, 3, broken)
    stopped(images, teacher, tmp_path, 5, broken)
    assert checkpoint.load(tmp_path / "stage").step == 3
    assert_ends_alike(whole, images, teacher, tmp_path)


def test_records_after_the_last_checkpoint_are_not_written_twice(whole, images, teacher, tmp_path):
    rarely = replace(EVERYTHING, checkpoint_minutes=60)
    stopped(images, teacher, tmp_path, 7, broken, rarely)  # three steps are logged, none is saved
    assert len(lines(tmp_path)) == 4
    assert_ends_alike(whole, images, teacher, tmp_path, rarely)


def test_a_signal_ends_the_step_saves_it_and_the_stage_goes_on_from_there(whole, images, teacher, tmp_path):
    rarely = replace(EVERYTHING, checkpoint_minutes=60)

    def announce_the_end(loss):
        for number in (signal.SIGUSR1, signal.SIGHUP, signal.SIGTERM):  # a batch system may send several
            os.kill(os.getpid(), number)
        return loss

    stopped(images, teacher, tmp_path, 4, announce_the_end, rarely)  # in the first half of step 3
    assert checkpoint.load(tmp_path / "stage").step == 3
    assert_ends_alike(whole, images, teacher, tmp_path, rarely)


def test_a_signal_or_a_kill_while_the_last_step_is_evaluated_loses_no_step_and_doubles_no_line(
    whole, images, teacher, tmp_path, monkeypatch
):
    rarely = replace(EVERYTHING, checkpoint_minutes=60)
    real = TrainState.evaluate

    def interrupted(state, step):
        if step == state.steps:
            os.kill(os.getpid(), signal.SIGHUP)
        return real(state, step)

    def killed(state, step):
        scores = real(state, step)
        if step == state.steps:  # its line is written
            raise OSError("the machine stops here")
        return scores

    for end in (interrupted, killed):
        monkeypatch.setattr(TrainState, "evaluate", end)
        with pytest.raises((KeyboardInterrupt, OSError)):
            run(images, tmp_path, rarely, teacher)
        assert checkpoint.load(tmp_path / "stage").step == 4
    monkeypatch.setattr(TrainState, "evaluate", real)
    assert_ends_alike(whole, images, teacher, tmp_path, rarely)


def test_a_finished_stage_that_was_not_recorded_ends_alike(whole, images, teacher, tmp_path):
    run(images, tmp_path, EVERYTHING, teacher)
    assert_ends_alike(whole, images, teacher, tmp_path)


def test_a_damaged_checkpoint_costs_a_step_and_nothing_else(whole, images, teacher, tmp_path, capsys):
    stopped(images, teacher, tmp_path, 6, broken)
    newest = tmp_path / "stage" / "checkpoint-00000003" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    assert_ends_alike(whole, images, teacher, tmp_path)
    assert "checkpoint-00000003: damaged" in capsys.readouterr().err


def test_a_checkpoint_holds_the_student_and_nothing_of_the_teacher(whole, images, teacher, tmp_path):
    net, _ = run(images, tmp_path, EVERYTHING, teacher)
    found = checkpoint.load(tmp_path / "stage")
    trained = {parameter.name for parameter in net.parameters() if not parameter.stop_gradient}
    assert found.tensors.keys() == {"model", "average", "optimizer"}
    assert found.tensors["model"].keys() == found.tensors["average"].keys() == net.state_dict().keys()
    assert {re.sub(r"_velocity_0$", "", key) for key in found.tensors["optimizer"]} == trained
    held = {array.tobytes() for arrays in found.tensors.values() for array in arrays.values() if array.size > 8}
    assert not held & {value.numpy().tobytes() for value in teacher.network.state_dict().values()}
    # what is handed on is the average; the weights that a resumed run would train on differ from it
    assert state(net) == {key: array.tobytes() for key, array in found.tensors["average"].items()}
    assert any(found.tensors["model"][key].tobytes() != value for key, value in state(net).items())


def test_another_networks_checkpoint_is_refused(images, tmp_path):
    checkpoint.save(tmp_path / "stage", 1, {"model": {"a": np.zeros(2)}}, {"seconds": 0.0, "scaler": {}})
    with pytest.raises(RunError, match="its checkpoint is of another network; use another --out, or remove the folder"):
        run(images, tmp_path, PLAIN)


# --- a loss that is not finite


def test_a_loss_that_is_nan_stops_the_stage_and_names_step_and_checkpoint(images, teacher, tmp_path):
    every_step = replace(PLAIN, checkpoint_minutes=0)
    with pytest.raises(RunError) as caught, acting(1, lambda loss: loss * float("nan")):
        run(images, tmp_path, every_step)
    wanted = "stage distill: the loss became nan at step 2; the last good checkpoint is of step 1; lower optim.lr or"
    assert str(caught.value).startswith(wanted)
    found = checkpoint.load(tmp_path / "stage")
    assert found.step == 1
    assert all(np.isfinite(array).all() for array in found.tensors["model"].values())
    assert [record["step"] for record in lines(tmp_path)] == [1]


def test_a_nan_before_the_first_checkpoint_says_so(images, tmp_path):
    with (
        pytest.raises(RunError, match="became inf at step 1; there is no checkpoint yet; lower"),
        acting(0, lambda loss: loss / 0.0),
    ):
        run(images, tmp_path, PLAIN)


@pytest.mark.parametrize("number", [0, 1])
def test_a_loss_that_is_nan_in_any_micro_batch_of_a_step_stops_the_stage(images, teacher, number, tmp_path):
    with pytest.raises(RunError, match="became nan at step 1"), acting(number, lambda loss: loss * float("nan")):
        run(images, tmp_path, EVERYTHING, teacher)


def test_the_first_bad_loss_of_several_unread_ones_is_named(tmp_path):
    job = Job(
        name="d", stage=PLAIN, folder=tmp_path, seed=0, runtime=None, track=None, train=None, val=None, classes=CLASSES
    )  # fmt: skip
    with pytest.raises(RunError, match="at step 8;"):
        check_finite([1.0, float("nan"), float("inf"), 2.0], 10, job)
    fine = [1.0, 2.0]
    check_finite(fine, 10, job)
    assert fine == []


# --- which parameters


def changed_keys(images, folder, train):
    net, _ = run(images, folder, replace(PLAIN, train=train))
    before = state(network())
    return {key for key, value in state(net).items() if value != before[key]}


def test_a_stage_of_the_head_changes_the_last_layer_and_no_statistics(images, tmp_path):
    assert changed_keys(images, tmp_path, "head") == {"head.fc.weight", "head.fc.bias"}


def test_a_stage_of_head_and_norms_changes_these_and_nothing_else(images, tmp_path):
    keys = set(network().state_dict())
    norms = {key for key in keys if ".bn." in key}
    assert {key.rpartition(".")[2] for key in norms} == {"weight", "bias", "_mean", "_variance"}
    assert changed_keys(images, tmp_path, "head_and_norms") == norms | {"head.fc.weight", "head.fc.bias"}


def test_a_stage_of_all_changes_every_entry_and_logs_top1_of_its_labelled_images(images, tmp_path):
    assert changed_keys(images, tmp_path, "all") == set(network().state_dict())
    assert all(0 <= record["top1"] <= 100 for record in lines(tmp_path))


def test_a_step_in_two_halves_is_the_step(images, tmp_path):
    states = []
    for accumulate in (1, 2):  # the head alone: no batch statistics, no dropout
        stage = replace(PLAIN, train="head", optim=replace(PLAIN.optim, accumulate=accumulate))
        net, _ = run(images, tmp_path / str(accumulate), stage)
        states.append(net.state_dict()["head.fc.bias"].numpy())
    np.testing.assert_allclose(states[0], states[1], atol=1e-6)
    assert np.abs(states[0] - network().state_dict()["head.fc.bias"].numpy()).max() > 1e-3


# --- signals


def test_a_rank_leaves_at_a_logged_step_alone():
    stop, two = Stop(), Runtime(rank=0, world=2, gpu=None)
    stop.asked = True
    assert asked_everywhere(stop, HERE, logged=False)
    assert not asked_everywhere(stop, two, logged=False)
    assert not asked_everywhere(Stop(), HERE, logged=True)
