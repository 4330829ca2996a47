"""Views of the images of a stage: their pixels and order, what networks see of them, and a stage that resumes."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest

from ssld import models
from ssld.config.recipe import Augment as Block
from ssld.config.teachers import Combine
from ssld.data import Augment, FurtherView, Loader, Views, from_arrays
from ssld.distill.engine import EngineLogits
from ssld.distill.several import Together
from ssld.distill.step import Step
from ssld.distill.teacher import TeacherLogits
from ssld.interfaces import Outputs
from ssld.losses import Loss, Reads, build_terms
from ssld.losses.objective import Objective
from ssld.losses.registry import built_in
from ssld.losses.views import by_view, of_view
from ssld.runtime import seed_networks
from tests.unit import test_stage
from tests.unit.test_data_pipeline import files as files  # a fixture
from tests.unit.test_data_pipeline import make, pixels_of, take
from tests.unit.test_stage import CLASSES, DATA, PLAIN, SIZE, acting, broken, lines, network, state
from tests.unit.test_stage import images as images  # a fixture

STRONG = FurtherView(Augment(auto="randaugment", erase=0.5), seed=5)


def flat(batches):
    """Batches as NumPy arrays, each view under its own name."""
    kept = [{**batch, **batch["views"]} for batch in batches]
    return take({key: value for key, value in batch.items() if key != "views"} for batch in kept)


def equal(ours, others):
    return len(ours) == len(others) and all(
        one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)
        for one, other in zip(ours, others, strict=True)
    )


def by_image(batches, key):
    return {int(index): image for batch in batches for index, image in zip(batch["index"], batch[key], strict=True)}


def both(files, **changes):
    return make(files, further={"strong": STRONG}, turned="turned", **changes)


@pytest.mark.parametrize("compiled", [True, False], ids=["resized here", "resized by DALI"])
def test_each_view_has_the_pixels_of_a_loader_of_its_own(files, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr("ssld.data.pipeline.resampler", lambda *_: None)
    batches = flat(both(files).batches(0, 3))
    plain = take(make(files).batches(0, 3))
    for batch, alone in zip(batches, plain, strict=True):
        assert all(np.array_equal(batch[key], alone[key]) for key in alone), (
            "the first view is what it is without others"
        )
    strong = by_image(take(make(files, augment=STRONG.augment, seed=STRONG.seed).batches(0, 3)), "image")
    found = by_image(batches, "strong")
    assert found.keys() == strong.keys() == set(range(24))
    assert all(np.array_equal(found[index], strong[index]) for index in found)


def test_a_view_of_rotations_has_each_image_and_its_quarter_turns(files):
    (batch,) = flat(make(files, turned="turned").batches(1, 2))
    assert batch["turned"].shape == (32, 3, 16, 16)
    assert batch["rotation"].dtype == np.int64
    assert batch["rotation"].tolist() == [0, 1, 2, 3] * 8
    for row, turned in enumerate(batch["turned"]):
        image = batch["image"][row // 4]
        assert np.array_equal(turned, np.rot90(image, batch["rotation"][row], axes=(1, 2)))


def test_views_are_the_same_on_two_ranks_as_in_two_micro_batches_and_after_a_start_in_the_middle(files):
    augment = Augment(mixup=0.4, cutmix=1.0)
    loader = both(files, augment=augment, accumulate=2, threads=2)
    whole = flat(loader.batches(0, 7))  # beyond the end of an epoch of three steps
    ranks = [flat(both(files, augment=augment, rank=rank, world=2).batches(0, 7)) for rank in (0, 1)]
    assert equal(whole, [batch for pair in zip(*ranks, strict=True) for batch in pair])
    assert equal(flat(both(files, augment=augment, accumulate=2).batches(2, 7)), whole[4:])
    abandoned = loader.batches(1, 7)
    next(abandoned)
    assert equal(flat(loader.batches(2, 7)), whole[4:])
    other = replace(STRONG, seed=6)
    changed = flat(make(files, augment=augment, accumulate=2, further={"strong": other}).batches(2, 7))
    assert not np.array_equal(changed[0]["strong"], whole[4]["strong"])
    assert np.array_equal(changed[0]["image"], whole[4]["image"])


def test_every_view_of_an_image_is_mixed_with_the_same_partner_in_the_same_share(files):
    augment = Augment(mixup=0.4)
    mixed = flat(both(files, augment=augment).batches(0, 3))
    for batch, plain in zip(mixed, flat(both(files).batches(0, 3)), strict=True):
        share = np.float32(batch["lam"])
        wanted = share * plain["strong"] + (1 - share) * plain["strong"][::-1]
        np.testing.assert_allclose(batch["strong"], wanted, atol=1e-3)
        assert np.array_equal(batch["turned"][::4], batch["image"])


def test_images_in_memory_have_the_views_of_files(files):
    arrays = [pixels_of(files.image(number)) for number in range(24)]
    own = from_arrays(arrays, files.labels)
    assert equal(flat(both(own).batches(0, 4)), flat(both(files).batches(0, 4)))


def test_with_a_label_cache_the_first_view_repeats_and_the_others_are_new(files):
    batches = list(both(files, views=Views(seed=1, number=2)).batches(0, 9))  # three epochs
    assert [batch["view"] for batch in batches[::3]] == [0, 1, 0]
    epochs = [
        flat({key: batch[key] for key in ("image", "index", "views")} for batch in batches[n : n + 3]) for n in (0, 6)
    ]
    first, third = ([by_image(epoch, key) for epoch in epochs] for key in ("image", "strong"))
    assert all(np.array_equal(first[0][index], first[1][index]) for index in range(24))
    assert sum(np.array_equal(third[0][index], third[1][index]) for index in range(24)) < 3


def test_names_of_outputs_tell_views_from_taps():
    read = by_view({"stage3.pre", "strong.logits", "turned.stage1.pre", "dim.logits"}, ["turned", "strong"])
    assert read == {"": {"stage3.pre", "dim.logits"}, "turned": {"stage1.pre"}, "strong": {"logits"}}
    assert list(by_view({"strong.map", "turned.map", "map"}, ["turned", "strong"])) == ["", "turned", "strong"]
    whole = Outputs({"logits": 1, "a.logits": 2}, each={"big": Outputs({"a.map": 3})}, weights={"classifier.weight": 4})
    seen = of_view(whole, "a")
    assert (dict(seen), dict(seen.each["big"]), seen.weights) == ({"logits": 2}, {"map": 3}, whole.weights)
    assert of_view(whole, None) is whole


# --- networks


@dataclass(frozen=True)
class Turns(Loss):
    """Tell the rotation of an image from the first of its logits."""

    views: ClassVar = 4
    reads: ClassVar = Reads(batch={"rotation"})

    def __call__(self, student, teacher, batch, helpers):
        turns = F.cross_entropy(student["logits"][:, :4], batch["rotation"], reduction="none")
        return turns.reshape([-1, self.views]).sum(axis=-1)


def drawn(rows=CLASSES):
    image, strong = (paddle.to_tensor(np.random.default_rng(n).normal(size=(rows, 3, SIZE, SIZE))) for n in (0, 1))
    turned = paddle.concat([image, strong, image, strong])
    label = paddle.arange(rows)
    views = {"strong": strong.astype("float32"), "turned": turned.astype("float32")}
    known = {"label": label, "index": label, "rotation": paddle.arange(4).tile([rows]), "step": 0, "epoch": 1}
    return {"image": image.astype("float32"), "views": views, **known}


VIEWS = {"strong": Block(auto="randaugment"), "turned": "rotations"}
SEEN = replace(DATA, views=VIEWS)


def zoo(seed=7):
    seed_networks(seed)
    return models.create("MobileNetV3_small_x0_5", num_classes=CLASSES, in_size=SIZE)


def teacher_of(net, *reads):
    return TeacherLogits(net, "running", SEEN, SIZE, DATA.mean, DATA.std, reads)


def test_a_teacher_sees_the_views_that_are_read_and_no_other():
    net, passes = zoo(), []
    net.register_forward_pre_hook(lambda layer, inputs: passes.append(len(inputs[0])))
    batch = drawn()
    (first,) = teacher_of(net, "logits").labelled([batch])
    (second,) = teacher_of(net, "strong.logits", "turned.logits").labelled([batch])
    assert passes == [CLASSES, CLASSES, 4 * CLASSES]
    assert (set(first["teacher"]), set(second["teacher"])) == ({"logits"}, {"strong.logits", "turned.logits"})
    assert np.array_equal(second["teacher"]["strong.logits"].numpy(), net(batch["views"]["strong"]).numpy())
    (tap,) = teacher_of(net, "turned.embedding").labelled([batch])
    assert tap["teacher"]["turned.embedding"].shape[0] == 4 * CLASSES


def test_an_engine_and_several_teachers_speak_of_every_view():
    batch, names = drawn(), ("logits", "strong.logits", "turned.logits")
    eager = teacher_of(zoo(), *names)
    (wanted,) = eager.labelled([batch])
    engine = object.__new__(EngineLogits)
    engine.views, engine.most, calls = list(eager.passes), CLASSES, []
    engine.run = lambda images: calls.append(len(images)) or eager(paddle.to_tensor(images)).numpy()
    (found,) = engine.labelled([batch])
    assert calls == [CLASSES] * 6, "an engine may be built for so many images and no more"
    assert tuple(found["teacher"]) == names
    for name, values in found["teacher"].items():
        np.testing.assert_allclose(values.numpy(), wanted["teacher"][name].numpy(), atol=1e-5)
    other = teacher_of(zoo(8), *names)
    (joined,) = Together({"a": eager, "b": other}, Combine(mean="logits")).labelled([batch])
    (alone,) = other.labelled([batch])
    for name in names:
        mean = (wanted["teacher"][name] + alone["teacher"][name]) / 2
        np.testing.assert_allclose(joined["teacher"][name].numpy(), mean.numpy(), atol=1e-6)


def step_of(loss):
    terms = build_terms(loss)
    objective = Objective(terms, views=VIEWS)
    teacher = teacher_of(zoo(), *objective.teacher_reads)
    (batch,) = teacher.labelled([drawn()])
    net = network()
    net.eval()  # the same in every pass
    return Step(net, objective, views=VIEWS)(batch), batch, net, teacher


def test_a_term_compares_the_student_in_one_view_with_the_teacher_in_another():
    pair = {"kind": "kl", "student_view": "strong"}
    (_, parts, logits), batch, net, teacher = step_of(
        {"ce": {}, "pair": pair, "same": {**pair, "teacher_view": "strong"}}
    )
    image, strong = batch["image"], batch["views"]["strong"]

    def kl(student, teacher):
        parts = Objective(build_terms({"kl": {}}))(Outputs({"logits": student}), Outputs({"logits": teacher}), batch)[1]
        return float(parts["loss/kl"])

    assert np.array_equal(logits.numpy(), net(image).numpy())
    values = [kl(net(strong), teacher(shown)) for shown in (image, strong)]
    assert [float(parts[f"loss/{name}"]) for name in ("pair", "same")] == pytest.approx(values, rel=1e-6)
    assert values[0] != pytest.approx(values[1], rel=1e-3)


def test_a_student_that_reads_a_further_view_alone_makes_no_other_pass():
    net, passes = network(), []
    net.eval()
    net.register_forward_pre_hook(lambda layer, inputs: passes.append(len(inputs[0])))
    batch = {**drawn(), "teacher": Outputs({"logits": paddle.ones([CLASSES, CLASSES])})}
    for view, rows, kind in (("strong", 1, "kl"), ("turned", 4, "turns")):
        terms = build_terms({kind: {"student_view": view}}, {"kl": built_in()["kl"], "turns": Turns})
        _, _, logits = Step(net, Objective(terms, views=VIEWS), views=VIEWS)(batch)
        assert passes == [rows * CLASSES]
        shown = net(batch["views"][view]).numpy()[::rows]  # of rotations the images themselves
        np.testing.assert_allclose(logits.numpy(), shown, atol=1e-5)
        passes.clear()


# --- a whole stage


STAGE = replace(
    PLAIN,
    epochs=2,  # of two steps
    data=SEEN,
    loss=build_terms(
        {
            "ce": {"unlabelled": "teacher_argmax"},
            "pair": {"kind": "soft_ce", "hard": True, "student_view": "strong", "min_teacher": 0.26},
            "mlkd": {"weight": 0.1},
            "sskd": {"student_view": "turned", "teacher_view": "turned", "weight": 0.1},
        }
    ),
    optim=replace(PLAIN.optim, accumulate=2, weight_decay=1e-4),
    checkpoint_minutes=0,  # after every step
)


@pytest.fixture
def with_views(monkeypatch):
    """The loader of test_stage, with the views of STAGE."""
    further = {"strong": FurtherView(VIEWS["strong"], 13)}
    monkeypatch.setattr(test_stage, "Loader", lambda *a, **k: Loader(*a, **k, further=further, turned="turned"))


def test_a_stage_of_views_that_is_stopped_ends_with_the_same_weights_and_logs_what_passed(images, with_views, tmp_path):
    teacher = TeacherLogits(zoo(), "running", SEEN, SIZE, DATA.mean, DATA.std, STAGE.teacher_reads)
    net, _ = test_stage.run(images, tmp_path / "whole", STAGE, teacher)
    with pytest.raises(OSError, match="stops here"), acting(5, broken):  # of eight micro-batches
        test_stage.run(images, tmp_path / "stopped", STAGE, teacher)
    again, _ = test_stage.run(images, tmp_path / "stopped", STAGE, teacher)
    assert state(again) == state(net)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")
    passed = [line["passed/pair"] for line in lines(tmp_path / "whole") if line["kind"] == "train"]
    assert len(passed) == 4
    assert all(0 <= share <= 1 and share * 4 == round(share * 4) for share in passed)  # of four images
