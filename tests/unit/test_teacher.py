"""The teacher contract: its batch-norm mode, its input, nothing of it changes, and the gate before the first step."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
import yaml
from paddle import nn

from ssld import models, weights
from ssld.config import cards, recipe
from ssld.config.recipe import Data
from ssld.data import fake
from ssld.distill import engine as engines
from ssld.distill import teachers
from ssld.distill.engine import EngineLogits, in_engine
from ssld.distill.runs import Run
from ssld.distill.teacher import TeacherLogits, gate
from ssld.distill.teacher_weights import check_card
from ssld.distill.teachers import load_teacher
from ssld.errors import DeployError, RecipeError, RunError, WeightsError
from ssld.interfaces import FIRST_VIEW
from ssld.paths import shelf
from ssld.plans import load_plan
from ssld.runtime import Runtime, cores
from tests.unit.some_recipe import written

HERE = Runtime(rank=0, world=1, gpu=None)
STUDENT = Data(train=("t.txt",), val="v.txt", size=8)
NORMS = ("batch", "running")


def network(dropout=0.0):
    """Convolution, BN with statistics of its own, dropout, linear layer."""
    paddle.seed(5)
    net = nn.Sequential(
        nn.Conv2D(3, 6, 3, stride=2), nn.BatchNorm2D(6), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout), nn.Linear(54, 4)
    )
    net[1]._mean.set_value(paddle.full([6], 0.3))
    net[1]._variance.set_value(paddle.full([6], 4.0))
    return net


def images(n=8, size=8, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((n, 3, size, size)).astype("float32"))


def logits_of(net, norm="batch", size=8, student=STUDENT, mean=STUDENT.mean, std=STUDENT.std):
    return TeacherLogits(net, norm, student, size, mean, std)


def state(net):
    return {key: value.numpy().copy() for key, value in net.state_dict().items()}


def test_batch_mode_normalises_with_the_batch_as_a_forward_in_training_mode_does():
    reference, x = network(), images()
    reference.train()
    wanted = reference(x).numpy()
    np.testing.assert_allclose(logits_of(network(), "batch")(x).numpy(), wanted, atol=1e-6)


def test_running_mode_is_the_forward_in_evaluation_mode_and_differs_from_batch_mode():
    reference, x = network(), images()
    reference.eval()
    wanted = reference(x).numpy()
    np.testing.assert_allclose(logits_of(network(), "running")(x).numpy(), wanted, atol=1e-6)
    assert np.abs(logits_of(network(), "batch")(x).numpy() - wanted).max() > 0.1


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_of_the_teacher_changes_in_many_batches(norm):
    net = network(0.5)
    before, teacher = state(net), logits_of(net, norm)
    for seed in range(20):
        teacher(images(seed=seed))
    for key, value in state(net).items():
        assert value.tobytes() == before[key].tobytes(), key


@pytest.mark.parametrize("norm", NORMS)
def test_batch_norms_of_a_zoo_network_keep_their_statistics(norm):
    net = models.create("MobileNetV3_small_x0_35", num_classes=4, in_size=32)
    before, teacher = state(net), logits_of(net, norm, 32, replace(STUDENT, size=32))
    first = teacher(images(4, 32)).numpy()
    assert all((value == before[key]).all() for key, value in state(net).items())
    assert (teacher(images(4, 32)).numpy() == first).all()  # its dropout is off


@pytest.mark.parametrize("norm", NORMS)
def test_dropout_is_off(norm):
    x = images()
    with_dropout, without = logits_of(network(0.5), norm)(x).numpy(), logits_of(network(0.0), norm)(x).numpy()
    np.testing.assert_array_equal(with_dropout, without)


def test_no_gradient_reaches_the_teacher():
    net, student = network(), nn.Linear(4, 4)
    out = logits_of(net)(images())
    assert out.stop_gradient
    assert all(parameter.stop_gradient for parameter in net.parameters())
    (student(out) * out).sum().backward()
    assert student.weight.grad is not None
    assert all(parameter.grad is None for parameter in net.parameters())


# --- its input


class Seen(nn.Layer):
    """Keeps what it was given."""

    def forward(self, x):
        self.x = x.numpy()
        return x


def test_the_students_normalisation_is_turned_into_the_teachers():
    pixels = np.random.default_rng(1).uniform(0, 1, (2, 3, 8, 8)).astype("float32")
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.5, 1.0)

    def normalised(mean, std):
        return (pixels - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))

    seen = Seen()
    logits_of(seen, mean=mean, std=std)(paddle.to_tensor(normalised(STUDENT.mean, STUDENT.std).astype("float32")))
    np.testing.assert_allclose(seen.x, normalised(mean, std), atol=1e-6)


def test_equal_normalisation_and_size_hand_the_images_on_untouched():
    seen, x = Seen(), images()
    logits_of(seen)(x)
    assert seen.x.tobytes() == x.numpy().tobytes()


@pytest.mark.parametrize("size", [4, 12])
def test_the_students_crop_is_resized_to_what_the_teacher_expects(size):
    seen = Seen()
    ramp = np.broadcast_to(np.linspace(-1, 1, 8, dtype="float32"), (2, 3, 8, 8))
    logits_of(seen, size=size)(paddle.to_tensor(ramp.copy()))
    assert seen.x.shape == (2, 3, size, size)
    centres = (np.arange(size) + 0.5) * 8 / size - 0.5  # output pixels on the input's grid
    inner = slice(2, -2) if size == 12 else slice(1, -1)  # the border is extended
    wanted = np.interp(centres, np.arange(8), ramp[0, 0, 0])
    np.testing.assert_allclose(seen.x[..., inner], np.broadcast_to(wanted[inner], seen.x[..., inner].shape), atol=0.02)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_a_crop_is_enlarged_as_the_input_pipeline_of_the_recipe_enlarges(interpolation):
    """In steps, where the two differ: between grey values the linear one goes straight, the cubic one overshoots."""
    seen, row = Seen(), np.array([0, 0, 1, 1, 0, 1, 0, 0], "float32")
    student = replace(STUDENT, interpolation=interpolation)
    logits_of(seen, size=12, student=student)(paddle.to_tensor(np.broadcast_to(row, (1, 3, 8, 8)).copy()))
    centres = (np.arange(12) + 0.5) * 8 / 12 - 0.5
    straight = np.interp(centres, np.arange(8), row)
    assert np.allclose(seen.x, straight, atol=1e-6) == (interpolation == "linear")
    assert (seen.x.max() > 1.01) == (interpolation == "cubic")


# --- the gate


@pytest.mark.parametrize(("top1", "images"), [(80.0, 2000), (77.3, 2000), (78.7, 50000), (95.0, 2000), (71.5, 100)])
def test_the_gate_lets_a_teacher_pass_that_is_as_good_as_its_card_within_chance(top1, images):
    gate("T", top1, claimed=80.0, images=images, points=1.0)


@pytest.mark.parametrize(("top1", "images"), [(77.1, 2000), (78.5, 50000), (0.1, 100)])
def test_the_gate_stops_a_teacher_that_is_not_what_its_card_says(top1, images):
    with pytest.raises(RunError) as caught:
        gate("T", top1, claimed=80.0, images=images, points=1.0)
    found = f"teacher T: {top1:.2f} top-1 on {images} validation images, its card says 80.00; check the weights"
    assert str(caught.value).startswith(found)
    assert "teacher.gate=0" in str(caught.value)
    assert "\n" not in str(caught.value)


CARD = "MobileNetV3_large_x1_0_ssld"
TREE = {
    "classes": 1000,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "stages": {
        "distill": {
            "epochs": 1,
            "data": {"train": ["train_labelled.txt"], "val": "val.txt", "size": 32, "batch": 4, "eval_batch": 4},
            "loss": {"ssld": {}},
            "optim": {"lr": 0.1},
        }
    },
}


@pytest.fixture(scope="module")
def from_card(tmp_path_factory):
    """A recipe with a teacher card, eight validation images, and weights of the right shapes that nobody trained."""
    folder = tmp_path_factory.mktemp("card")
    fake(folder, 1000, train=8, val=8, unlabelled=0, size=48)
    weights.save(models.create("MobileNetV3_large_x1_0"), folder / "teacher.safetensors")
    teacher = {"card": CARD, "gate": 2000, "weights": str(folder / "teacher.safetensors")}
    file = written(folder, {**TREE, "teacher": teacher})

    def run(*overrides, runtime=HERE, at=folder / "run"):
        return Run(recipe.load(file, overrides), at, folder, runtime)

    return run


def test_a_teacher_that_nobody_trained_does_not_pass_the_gate_of_its_card(from_card):
    message = rf"^teacher {CARD}: \d+\.\d\d top-1 on 8 validation images, its card says 78\.96; check the weights"
    with pytest.raises(RunError, match=message):  # 2,000 were asked for, the list has eight
        load_teacher(from_card(), "teacher")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"params": 5_480_000}, "params: 5480000, MobileNetV3_large_x1_0 has 5480206"),
        ({"macs": 1}, r"macs: 1, \w+ has 2"),
    ],
)
def test_a_card_with_the_costs_of_another_network_is_refused(wrong, said, from_card, tmp_path):
    card = {**yaml.safe_load((shelf("teachers") / f"{CARD}.yaml").read_text()), **wrong}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    with pytest.raises(RunError, match=rf"mine\.yaml: its card says {said}.*; correct the card, or check its arch"):
        load_teacher(from_card(f"teacher.card={tmp_path / 'mine.yaml'}", "teacher.gate=0"), "teacher")


def test_a_card_may_count_other_classes_than_those_of_the_weights(tmp_path, monkeypatch):
    network = models.create("MobileNetV3_small_x0_35", num_classes=3, in_size=32)
    card = cards.find_student("MobileNetV3_small_x0_35")
    told = SimpleNamespace(arch=card.arch, params=card.params, macs=card.macs, input=card.input)
    monkeypatch.setattr(cards, "find_teacher", lambda name: told)
    check_card("mine", network)
    told.params -= 1
    with pytest.raises(RunError, match="its card says params: 1665953, MobileNetV3_small_x0_35 has 1665954"):
        check_card("mine", network)


def test_without_the_gate_it_is_loaded_with_the_input_of_its_card(from_card):
    teacher = load_teacher(from_card("teacher.gate=0"), "teacher")
    assert (teacher.norm, teacher.look.size, teacher.look.mean) == ("batch", 224, (0.485, 0.456, 0.406))


def test_weights_that_are_missing_or_do_not_fit_are_named(from_card, tmp_path):
    with pytest.raises(RunError, match=rf"^teacher {CARD}: no weights at {tmp_path}/none\.safetensors; download http"):
        load_teacher(from_card(f"teacher.weights={tmp_path}/none.safetensors"), "teacher")
    weights.save(models.create("MobileNetV3_small_x0_35"), tmp_path / "small.safetensors")
    with pytest.raises(WeightsError, match="made for MobileNetV3_small_x0_35, the network is MobileNetV3_large_x1_0"):
        load_teacher(from_card(f"teacher.weights={tmp_path}/small.safetensors"), "teacher")


class Small(nn.Layer):
    """Quickly exported; a test below has a card's network in an engine, `tests/parity` all of the zoo."""

    arch, num_classes = "Small", 4

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2D(3, 8, 3, stride=2, bias_attr=False), nn.BatchNorm2D(8), nn.Hardswish(), nn.Conv2D(8, 16, 3),
            nn.BatchNorm2D(16), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(),
        )  # fmt: skip
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        return self.fc(self.body(x))


def trained():
    """A network whose running statistics are not those of a batch."""
    paddle.seed(5)
    net = Small()
    for _ in range(3):
        net(images(16, 32))
    net.eval()
    return net


def small_view(interpolation="linear"):
    """A student that sees 24 pixels, normalised otherwise than its teacher, which sees 32."""
    return Data(train=("t.txt",), val="v.txt", size=24, interpolation=interpolation, mean=(0.3,) * 3, std=(0.1,) * 3)


@pytest.mark.parametrize(
    ("engine", "student"),
    [
        ("onednn", small_view()),
        ("onednn", replace(STUDENT, size=32)),
        ("onnxruntime", small_view("cubic")),
        ("openvino", small_view()),
    ],
)
def test_a_teacher_in_an_engine_says_what_the_network_says_on_running_statistics(engine, student):
    net, x = trained(), images(5, student.size, seed=1)
    teacher = logits_of(net, "running", 32, student)
    wanted = teacher(x).numpy()
    found = in_engine(teacher, engine, student.size, 5, HERE)(x)
    assert found.stop_gradient
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
    assert np.abs(logits_of(net, "batch", 32, student)(x).numpy() - wanted).max() > 0.1 * np.abs(wanted).max()


def test_labelled_batches_carry_the_logits_of_their_own_images_in_eager_paddle_and_in_an_engine():
    teacher = logits_of(trained(), "running", 32, replace(STUDENT, size=32))
    batches = [{"image": images(3, 32, seed=seed), "index": seed} for seed in range(4)]
    wanted = [teacher(batch["image"]).numpy() for batch in batches]
    for way in (teacher, in_engine(teacher, "onednn", 32, 3, HERE)):
        found = list(way.labelled(iter(batches)))
        assert [batch["index"] for batch in found] == [0, 1, 2, 3]
        assert all(batch["teacher"]["logits"].stop_gradient for batch in found)
        for batch, logits in zip(found, wanted, strict=True):
            np.testing.assert_allclose(
                batch["teacher"]["logits"].numpy(), logits, rtol=0, atol=1e-4 * np.abs(logits).max()
            )
        assert list(way.labelled(iter([]))) == []


def test_an_engine_works_on_the_next_batch_while_the_student_trains_on_this_one():
    second = threading.Event()
    logits = object.__new__(EngineLogits)
    logits.views, logits.most = [FIRST_VIEW], 1
    logits.run = lambda given: second.set() if given[0, 0, 0, 0] == 1 else given
    found = logits.labelled({"image": paddle.full([1, 3, 2, 2], n)} for n in range(2))
    assert float(next(found)["teacher"]["logits"].sum()) == 0
    assert second.wait(10)  # nobody has asked for the second batch yet


class Wrong:
    """An engine that says something else: the same logits for every image, or ones a little off."""

    def __init__(self, answer):
        self.load = lambda folder: answer


def test_an_engine_that_says_something_else_stops_the_run(monkeypatch):
    teacher = logits_of(trained(), "running", 32)
    monkeypatch.setattr(engines, "ready", lambda engine, **options: Wrong(lambda given: np.ones((len(given), 4), "f4")))
    message = r"^teacher Small: onednn differs from the model, max .diff. .*; set teacher\.engine=eager$"
    with pytest.raises(RunError, match=message):
        in_engine(teacher, "onednn", 8, 4, HERE)


def test_an_engine_that_is_off_by_more_than_rounding_stops_the_run(monkeypatch):
    """Of logits up to 5, an error of 5e-5 moves a softmax value by up to 0.0001: too much for a label."""
    net = trained()
    drawn = paddle.to_tensor(np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype("f4"))
    largest = float(logits_of(net, "running", 32)(drawn).abs().max())
    for part in (net.fc.weight, net.fc.bias):
        part.set_value(part * (5 / largest))
    teacher = logits_of(net, "running", 32)

    def off(given):
        logits = teacher(paddle.to_tensor(given)).numpy()
        return logits + np.float32(5e-5 * np.abs(logits).max()) * np.eye(4, dtype="f4")[logits.argmax(1)]

    monkeypatch.setattr(engines, "ready", lambda engine, **options: Wrong(off))
    with pytest.raises(RunError, match=r"onednn differs from the model, max .diff. of logits .* > bound .*; set teach"):
        in_engine(teacher, "onednn", 8, 4, HERE)


def test_auto_takes_the_fastest_engine_that_agrees_and_says_what_each_took(monkeypatch, capsys):
    teacher = logits_of(trained(), "running", 32)
    real = engines.ready

    def ready(engine, **options):
        return Wrong(lambda given: np.ones((len(given), 4), "f4")) if engine == "onednn" else real(engine, **options)

    monkeypatch.setattr(engines, "ready", ready)
    chosen = in_engine(teacher, "auto", 8, 4, HERE)
    said = capsys.readouterr().err
    assert "teacher.engine auto: onednn is left out; teacher Small: onednn differs" in said
    times = dict(pair.split() for pair in said.rpartition("forward: ")[2].strip().split(", "))
    assert times.keys() == {"eager", "onnxruntime", "openvino", "paddle"}
    assert chosen.engine == min(times, key=lambda name: float(times[name])) == next(iter(times))


ON_GPU = Runtime(rank=0, world=1, gpu=0)


def test_on_a_gpu_the_teacher_is_in_an_engine_of_a_gpu_built_for_its_batch_and_takes_turns(monkeypatch):
    """TensorRT as far as it goes without one: from there on it says what the network says."""
    teacher, asked = logits_of(trained(), "running", 32), []

    def ready(engine, **options):
        asked.append((engine, options))
        return Wrong(lambda given: teacher(paddle.to_tensor(given)).numpy())

    monkeypatch.setattr(engines, "ready", ready)
    found = in_engine(teacher, "tensorrt", 8, 4, ON_GPU)
    assert asked[-1] == ("tensorrt", {"threads": cores(), "batches": (1, 4, 4), "pixels": (8, 8, 8)})
    here, threads = threading.get_ident(), []
    run, found.run = found.run, lambda given: threads.append(threading.get_ident()) or run(given)
    batches = [{"image": images(4, 8, seed=seed)} for seed in range(3)]
    for batch, labelled in zip(batches, found.labelled(iter(batches)), strict=True):
        np.testing.assert_allclose(labelled["teacher"]["logits"].numpy(), teacher(batch["image"]).numpy(), atol=1e-6)
    assert threads == [here] * 3


def test_an_engine_runs_where_the_student_does_and_on_the_first_gpu_alone(monkeypatch):
    teacher = logits_of(trained(), "running", 32)
    with pytest.raises(RunError, match=r"^teacher\.engine: tensorrt runs on a GPU; set teacher\.engine=eager$"):
        in_engine(teacher, "tensorrt", 8, 4, HERE)
    with pytest.raises(RunError, match=r"^teacher\.engine: tensorrt runs on GPU 0, this rank has GPU 1; set teacher"):
        in_engine(teacher, "tensorrt", 8, 4, Runtime(rank=1, world=2, gpu=1))
    with pytest.raises(DeployError, match=r"^engine 'tensorrt': tensorrt is not installed"):
        in_engine(teacher, "tensorrt", 8, 4, ON_GPU)
    tried = []
    monkeypatch.setattr(engines, "usable", lambda: {"paddle": None, "tensorrt": None})
    monkeypatch.setattr(engines, "EngineLogits", lambda teacher, engine, *rest: tried.append(engine) or teacher)
    monkeypatch.setattr(engines, "fastest", lambda ways, *rest: list(ways)[-1])
    for here in (HERE, ON_GPU):
        in_engine(teacher, "auto", 8, 4, here)
    assert tried == ["paddle", "tensorrt"]


class Ticks:
    """A way to logits, and a student, on a clock that moves when they work."""

    def __init__(self, clock, ticks):
        self.clock, self.ticks = clock, iter(ticks)

    def labelled(self, batches):
        self.clock[0] += next(self.ticks)
        return batches


def test_the_fastest_is_the_one_of_the_lowest_median(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(engines.time, "perf_counter", lambda: clock[0])

    def student(images):
        clock[0] += 0.002

    ways = {"steady": Ticks(clock, [0.0, 0.03, 0.03, 0.03]), "spiky": Ticks(clock, [0.9, 0.015, 0.9, 0.015])}
    assert engines.fastest(ways, student, np.zeros((1, 3, 2, 2), "f4"), HERE, "teachers.b.engine") == "spiky"
    said = "teachers.b.engine auto: spiky; ms for 1 images beside an eager forward: spiky 7.0, steady 12.0"
    assert said in capsys.readouterr().err


ENGINE = ("teacher.engine=onednn", "teacher.norm=running", "teacher.gate=0")


def test_an_engine_has_running_statistics_and_a_name_that_exists(tmp_path):
    file = written(tmp_path, {**TREE, "teacher": {"card": CARD}})
    with pytest.raises(RecipeError, match=r"teacher\.engine: onednn has the running statistics built in; set teacher"):
        recipe.load(file, ["teacher.engine=onednn"])
    with pytest.raises(RecipeError, match=r"no engine named 'onedn'; did you mean 'onednn'\?"):
        load_plan(str(file), ["teacher.engine=onedn", "teacher.norm=running"])


def test_an_engine_runs_a_teacher_from_a_card_and_does_so_on_a_cpu(from_card, tmp_path):
    run = from_card(*ENGINE, at=tmp_path)
    teacher = load_teacher(run, "teacher")
    assert (teacher.norm, teacher.engine, teacher.look.size) == ("running", "onednn", 224)
    assert teacher.on(run.stage("distill")).engine == "onednn"
    on_gpu = from_card(*ENGINE, at=tmp_path, runtime=Runtime(rank=0, world=1, gpu=0))
    with pytest.raises(RunError, match=r"teacher\.engine: onednn runs on a CPU; set teacher\.engine=eager"):
        teacher.on(on_gpu.stage("distill"))


def test_a_stage_that_is_resumed_goes_on_with_the_engine_that_auto_chose(from_card, tmp_path, monkeypatch):
    asked = []

    class Chosen:
        engine = "openvino"

    monkeypatch.setattr(teachers, "in_engine", lambda logits, name, *rest: asked.append(name) or Chosen())
    run = from_card("teacher.engine=auto", "teacher.norm=running", "teacher.gate=0", at=tmp_path)
    teacher = load_teacher(run, "teacher")
    for _ in range(2):
        assert teacher.on(run.stage("distill")).engine == "openvino"
    assert asked == ["auto", "openvino"]
