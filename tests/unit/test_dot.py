"""DOT: two gradients and two momenta, alone, over a stage, after a stop, and on two ranks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest

from ssld.config import recipe
from ssld.config.optim import Optim, check_apart
from ssld.distill import checkpoint
from ssld.distill.dot import Dot
from ssld.distill.teacher import TeacherLogits
from ssld.errors import RecipeError, RunError
from ssld.losses import build_terms
from tests.unit.test_stage import CLASSES, DATA, PLAIN, SIZE, models, network, run, seed_networks, state
from tests.unit.test_stage import images as images  # a fixture

RATE, MOMENTUM, DELTA, DECAY = 0.1, 0.8, 0.15, 0.01
LOSSES = {"ce": {}, "kd": {"kind": "kl", "temperature": 4.0}, "hint": {"weight": 10}}
STAGE = replace(
    PLAIN,
    epochs=3,  # of two steps
    loss=build_terms(LOSSES),
    optim=Optim(lr=0.01, algorithm="dot", weight_decay=1e-3, accumulate=2, stage_lr=(0.1, 1, 1, 1, 0.3)),
    checkpoint_minutes=0,  # after every step
)


@pytest.fixture(scope="module")
def teacher():
    seed_networks(7)
    other = models.create("MobileNetV3_small_x0_5", num_classes=CLASSES, in_size=SIZE)
    return TeacherLogits(other, "running", DATA, SIZE, DATA.mean, DATA.std, STAGE.teacher_reads)


# --- the optimiser


def gradients(steps, shapes):
    """task, distil for each step, with None where a side does not reach a parameter: 1 has no task, 2 no distil."""
    draw = np.random.default_rng(5)
    for _ in range(steps):
        task, distil = ([draw.normal(size=shape) for shape in shapes] for _ in range(2))
        task[1], distil[2] = None, None
        yield task, distil


def tensors(arrays):
    return [None if array is None else paddle.to_tensor(array) for array in arrays]


def made(shapes, decayed=(0, 1)):
    draw = np.random.default_rng(1)
    parameters = [paddle.create_parameter(list(shape), "float64") for shape in shapes]
    for parameter in parameters:
        parameter.set_value(draw.normal(size=parameter.shape))
    return parameters, Dot(parameters, RATE, MOMENTUM, DELTA, {parameters[n].name: DECAY for n in decayed})


def test_every_parameter_moves_by_the_formula_of_the_sides_that_reach_it():
    shapes = [(2, 3), (4,), (3,), (2,)]
    parameters, optimizer = made(shapes)
    parameters[3].optimize_attr["learning_rate"] = 0.5
    wanted = [parameter.numpy() for parameter in parameters]
    u_task, u_distil = ([np.zeros(shape) for shape in shapes] for _ in range(2))
    for step, (task, distil) in enumerate(gradients(4, shapes)):
        rate = RATE / (step + 1)
        optimizer.set_lr(rate)
        for _ in range(2):  # micro-batches
            optimizer.add(*(tensors([None if g is None else g / 2 for g in side]) for side in (task, distil)))
        optimizer.step()
        optimizer.clear_grad()
        for n, w in enumerate(wanted):
            decay = DECAY * w if n < 2 else 0.0
            if n in (1, 2):  # one side alone
                u_task[n] = MOMENTUM * u_task[n] + (distil if n == 1 else task)[n] + decay
            else:
                u_task[n] = (MOMENTUM - DELTA) * u_task[n] + task[n] + decay
                u_distil[n] = (MOMENTUM + DELTA) * u_distil[n] + distil[n]
            wanted[n] = w - rate * (0.5 if n == 3 else 1.0) * (u_task[n] + u_distil[n])
    for parameter, array in zip(parameters, wanted, strict=True):
        np.testing.assert_allclose(parameter.numpy(), array, rtol=1e-12)


def test_a_parameter_without_a_gradient_stays_as_it_is():
    parameters, optimizer = made([(2,), (2,)])
    before = parameters[1].numpy()
    for _ in range(2):
        optimizer.add([paddle.ones([2], "float64"), None], [None, None])
        assert (optimizer.reached(parameters[0]), optimizer.reached(parameters[1])) == (True, False)
        optimizer.step()
        optimizer.clear_grad()
    assert (parameters[1].numpy() == before).all()


def test_state_is_taken_over_bit_for_bit_and_that_of_other_parameters_is_refused():
    shapes = [(2, 3), (4,), (3,)]
    steps = list(gradients(5, shapes))

    def move(optimizer, some):
        for task, distil in some:
            optimizer.add(tensors(task), tensors(distil))
            optimizer.step()
            optimizer.clear_grad()

    parameters, whole = made(shapes)
    move(whole, steps[:3])
    kept = {name: value.numpy() for name, value in whole.state_dict().items()}
    values = [parameter.numpy() for parameter in parameters]
    move(whole, steps[3:])
    ends = [parameter.numpy().tobytes() for parameter in parameters]
    for parameter, value in zip(parameters, values, strict=True):
        parameter.set_value(value)
    again = Dot(parameters, RATE, MOMENTUM, DELTA, whole.decay)
    again.set_state_dict({name: paddle.to_tensor(value) for name, value in kept.items()})
    move(again, steps[3:])
    assert [parameter.numpy().tobytes() for parameter in parameters] == ends
    with pytest.raises(RunError, match="is on one side alone; the checkpoint is of another network"):
        made(shapes)[1].set_state_dict({name: paddle.to_tensor(value) for name, value in kept.items()})


# --- a stage


def test_without_delta_a_stage_ends_where_plain_momentum_takes_it(images, teacher, tmp_path):
    """At a small rate, with whole batches: what rounding changes is amplified by the rate, and by the batch norms of
    four images of one pixel."""
    ends = []
    for name, delta in (("dot", 0.0), ("momentum", 0.075), ("apart", 0.075)):
        algorithm = "momentum" if name == "momentum" else "dot"
        optim = replace(STAGE.optim, algorithm=algorithm, delta=delta, lr=2e-4, accumulate=1)
        net, _ = run(images, tmp_path / name, replace(STAGE, optim=optim), teacher)
        helpers = checkpoint.load(tmp_path / name / "stage").tensors["helpers"]
        values = {key: value.numpy() for key, value in net.state_dict().items()} | helpers
        ends.append({key: value for key, value in values.items() if not key.endswith(("_mean", "_variance"))})

    def gap(one, other):
        return max(np.abs(one[key] - other[key]).max() for key in one)

    start = {key: value.numpy() for key, value in network().state_dict().items() if key in ends[0]}
    assert gap(start, ends[1]) > 1e-3
    assert gap(ends[0], ends[1]) < 1e-5
    assert gap(ends[2], ends[1]) > 1e-4


@pytest.fixture(scope="module")
def whole(images, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dot")
    return run(images, folder, STAGE, teacher)[0], checkpoint.load(folder / "stage").tensors


class Stops:
    """A labeller that ends the process's work after some micro-batches."""

    def __init__(self, teacher, number):
        self.teacher, self.number = teacher, number

    def __getattr__(self, name):
        return getattr(self.teacher, name)

    def labelled(self, *args):
        for count, batch in enumerate(self.teacher.labelled(*args)):
            if count == self.number:
                raise OSError("stops here")
            yield batch


@pytest.mark.parametrize("number", [3, 8])  # of twelve micro-batches
def test_a_stage_that_is_stopped_ends_with_the_same_bits(whole, images, teacher, number, tmp_path):
    with pytest.raises(OSError, match="stops here"):
        run(images, tmp_path, STAGE, Stops(teacher, number))
    net, _ = run(images, tmp_path, STAGE, teacher)
    assert state(net) == state(whole[0])
    again = checkpoint.load(tmp_path / "stage").tensors
    assert set(again) == set(whole[1]) == {"model", "optimizer", "helpers"}
    for part, arrays in again.items():
        assert {key: value.tobytes() for key, value in arrays.items()} == {
            key: value.tobytes() for key, value in whole[1][part].items()
        }


def test_delta_changes_the_end_of_a_stage_and_so_does_the_side_of_a_term(whole, images, teacher, tmp_path):
    for name, stage in {
        "delta": replace(STAGE, optim=replace(STAGE.optim, delta=0.05)),
        "side": replace(STAGE, loss=build_terms(LOSSES | {"kd": {**LOSSES["kd"], "side": "task"}})),
    }.items():
        assert state(run(images, tmp_path / name, stage, teacher)[0]) != state(whole[0]), name


def test_a_parameter_that_neither_side_reaches_stops_the_stage(images, teacher, tmp_path, monkeypatch):
    def loose():
        net = network()
        net.forgotten = paddle.nn.Linear(2, 2)
        return net

    monkeypatch.setattr("tests.unit.test_stage.network", loose)
    with pytest.raises(RunError, match=r"no loss reaches the parameter 'forgotten\.weight'"):
        run(images, tmp_path, STAGE, teacher)


# --- recipes

DOT = {"lr": 0.1, "algorithm": "dot"}


def test_a_term_that_reads_a_teacher_is_of_the_distillation_unless_it_says_otherwise():
    terms = build_terms({**LOSSES, "own": {"kind": "ce", "side": "distil"}, "kl": {"side": "task"}})
    assert {name: term.learns_from for name, term in terms.items()} == {
        "ce": "task", "kd": "distil", "hint": "distil", "own": "distil", "kl": "task",
    }  # fmt: skip


def test_a_side_stands_in_the_plan_and_enters_the_digest_only_where_it_is_given():
    plain, given = build_terms({"kl": {}})["kl"], build_terms({"kl": {"side": "task"}})["kl"]
    assert plain.tree()["side"] is None
    assert "side" not in plain.tree("kl")
    assert given.tree("kl") == {"weight": 1.0, "side": "task"}
    assert build_terms({"kl": given.tree()})["kl"] == given


def test_a_side_that_is_none_is_refused():
    with pytest.raises(RecipeError, match=r"\.ce\.side: 'teacher' is no side; give task or distil, or leave it out"):
        build_terms({"ce": {"side": "teacher"}})


@pytest.mark.parametrize(
    ("optim", "losses", "quantized", "message"),
    [
        ({"amp": "O1"}, LOSSES, False, r"optim\.amp: O1 does not go with algorithm dot; leave it out"),
        ({"clip_norm": 1.0}, LOSSES, False, r"optim\.clip_norm: 1\.0 does not go with algorithm dot"),
        ({"nesterov": True}, LOSSES, False, r"optim\.nesterov: True does not go"),
        ({"rho": 0.5}, LOSSES, False, r"optim\.rho: 0\.5 does not go"),
        ({"epsilon": 0.1}, LOSSES, False, r"optim\.epsilon: 0\.1 does not go"),
        ({"delta": 0.1}, LOSSES, False, r"optim\.delta: 0\.1 with momentum 0\.9; give 0 to momentum, both .* below 1"),
        ({"delta": -0.1}, LOSSES, False, r"optim\.delta: -0\.1 with"),
        ({}, LOSSES, True, r"optim\.algorithm: dot does not train a quantised stage; take momentum"),
        (
            {},
            {"ce": {}},
            False,
            r"optim\.algorithm: dot .* and every term is on the side task; add one that learns from a teacher",
        ),
        (
            {},
            {"kl": {}},
            False,
            r"optim\.algorithm: .*, and every term is on the side distil; add one that learns from labels, such as ce",
        ),
        ({"algorithm": "adamw", "delta": 0.05}, LOSSES, False, r"optim\.delta: is of algorithm dot, not of adamw"),
    ],
)
def test_what_does_not_go_with_dot_is_refused_in_one_line(optim, losses, quantized, message):
    with pytest.raises(RecipeError, match=rf"^some: stages\.a\.{message}") as error:
        check_apart(Optim(**DOT | optim), build_terms(losses), quantized, "some: stages.a.")
    assert "\n" not in str(error.value)


def test_a_recipe_is_checked_when_it_is_loaded():
    words = ["stages.baseline.optim.algorithm=dot"]
    with pytest.raises(RecipeError, match=r"stages\.baseline\.optim\.algorithm: dot needs terms on both sides"):
        recipe.load(Path("recipes/quickstart.yaml"), words)
    with pytest.raises(RecipeError, match=r"stages\.baseline\.optim\.clip_norm: 1\.0 does not go with algorithm dot"):
        recipe.load(Path("recipes/quickstart.yaml"), [*words, "stages.baseline.optim.clip_norm=1.0"])
