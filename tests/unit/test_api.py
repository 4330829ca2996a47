"""What a notebook calls: networks and images that are objects, a recipe as a mapping, a finished run."""

import inspect
import json
import math
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import paddle
import pytest
from paddle import nn

import ssld
from ssld import api, losses, models
from ssld.commands.eval import eval_
from ssld.config.run_folder import read_result
from ssld.data import fake
from ssld.distill.checkpoint import load
from ssld.distill.code_digests import code_digest
from ssld.distill.runs import MODEL
from ssld.distill.teacher_weights import recorded_input, weights_digest
from ssld.errors import DataError, DeployError, RecipeError, RunError, UsageError
from ssld.plans import load_plan
from ssld.report import closing_table, write_report
from ssld.runtime import seed_networks
from tests.unit.test_imports import ROOT

SIZE, CLASSES = 8, 4
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 10, 10, 3), dtype=np.uint8)
LABELS = np.arange(32) % CLASSES
IMAGES[np.arange(32), :, :, :] //= (1 + LABELS)[:, None, None, None].astype("uint8")  # what there is to learn
DATA = (IMAGES, LABELS)
SETTINGS = {"loss": {"ssld": {}}, "epochs": 2, "lr": 0.1, "size": SIZE, "data": {"batch": 8}, "gate": 0}


def network(width=4, classes=CLASSES, seed=0):
    seed_networks(seed)
    return nn.Sequential(
        nn.Conv2D(3, width, 3), nn.BatchNorm2D(width), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(),
        nn.Linear(width, classes),
    )  # fmt: skip


def distil(student=None, teacher="given", train=DATA, val=DATA, **changes):
    teacher = network(6, seed=1) if teacher == "given" else teacher
    return ssld.distill(student or network(), teacher, train, val, **{**SETTINGS, **changes})


INTERRUPTED = SimpleNamespace(at=-1)  # no constant, which would belong to the code of the loss


@dataclass(frozen=True)
class Gap(ssld.Loss):
    """The squared difference of the logits; at the step of INTERRUPTED it is stopped."""

    factor: float = 1.0
    reads: ClassVar = ssld.Reads(teacher={"logits"})

    def __call__(self, student, teacher, batch, helpers):
        if batch["step"] == INTERRUPTED.at:
            raise KeyboardInterrupt
        return self.factor * ((student["logits"] - teacher["logits"]) ** 2).sum(axis=-1)


def test_the_public_names_of_ssld_are_there_and_its_two_rooms_may_be_called():
    assert all(callable(getattr(ssld, name)) for name in ssld.__all__)
    assert set(ssld.__all__) <= set(dir(ssld))
    assert (ssld.Loss, ssld.evaluate) == (losses.Loss, api.evaluate)
    assert inspect.signature(ssld.distill) == inspect.signature(api.distill)
    assert inspect.signature(ssld.run) == inspect.signature(api.run)
    with pytest.raises(AttributeError, match="no attribute 'distil'"):
        ssld.distil  # noqa: B018


def test_the_names_of_models_match_a_pattern_and_make_networks():
    assert ssld.list_models("ResNet18*") == ["ResNet18", "ResNet18_vd"]
    made = ssld.create_model("ResNet18", num_classes=3, in_size=32)
    assert (type(made).__mro__[1], made.num_classes, made.in_size) == (models.Classifier, 3, 32)
    assert ssld.list_models("vgg*") == ["vgg8", "vgg13"]
    small = np.zeros((4, 32, 32, 3), "uint8"), [0, 1, 2, 3]
    settings = {"data": {"batch": 4, "augment": {"flip": 0.0}}, "epochs": 1, "lr": 0.01}
    trained = ssld.distill("vgg8", None, small, small, classes=4, loss={"ce": {}}, **settings)
    assert (trained.student.arch, trained.settings.data.size) == ("vgg8", 32)


def test_a_copy_of_the_student_learns_and_what_was_handed_over_stays_as_it_was():
    student, teacher = network(), network(6, seed=1)
    teacher[0].weight.stop_gradient = True
    before = weights_digest(student), weights_digest(teacher)
    trained = distil(student, teacher, loss={"ce": {}, "ssld": {"weight": 0.1}}, epochs=20)
    assert trained.evaluate().top1 == trained.scores["top1"] > 60
    assert (weights_digest(student), weights_digest(teacher)) == before != (weights_digest(trained.student), before[1])
    assert [p.stop_gradient for p in teacher.parameters()] == [True, False, False, False, True, True, False, False]
    assert (teacher.training, teacher[1]._momentum, student.training) == (True, 0.9, True)
    kinds = {record["kind"] for record in trained.history}
    assert kinds == {"train", "eval"}
    assert trained.history[-1]["top1"] == trained.scores["top1"]


ARCH = "MobileNetV3_small_x0_35"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the images of `finished`."""
    folder = tmp_path_factory.mktemp("images")
    fake(folder, CLASSES, train=16, val=8, unlabelled=0, size=20)
    return folder


RUN = {
    "classes": CLASSES,
    "seed": 3,
    "student": {"arch": ARCH},
    "teacher": {"arch": ARCH, "stage": "teach"},
    "stage": {
        "data": {"train": ["train_labelled.txt"], "val": "val.txt", "size": 32, "batch": 8, "eval_resize": 32},
        "optim": {"lr": 0.05, "ema": 0.9, "warmup_epochs": 1, "weight_decay": 1e-4},
        "epochs": 2,
    },
    "stages": {"teach": {"network": "teacher", "loss": {"ce": {}}}, "distill": {"loss": {"ssld": {}, "ce": {}}}},
    "export": {"formats": ["onnx"], "gate_images": 8},
    "bench": {"engines": ["onnxruntime"], "repeats": 2},
}


@pytest.fixture(scope="module")
def finished(place):
    """A run of a teacher and a student on these images, from a recipe that is a mapping."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSLD_DATA", str(place))
        yield ssld.run(RUN, out=place / "run", device="cpu")


STRICT = "export.gate_diff=1e-30"


@pytest.fixture(scope="module")
def unexported(place, finished):
    """The same run, whose file may not differ from the network at all."""
    return ssld.run(RUN, STRICT, out=place / "strict", device="cpu")


def test_a_run_whose_export_fails_is_finished_and_says_what_failed(place, finished, unexported, capsys):
    why = unexported.result["failures"]["export"]
    assert why.startswith(f"{place}/strict/export: onnx at 32 px differs from the model, max |diff| of logits ")
    assert why.endswith(f"; `ssld export {place}/strict` repeats it, --gate KEY=VALUE changes thresholds")
    assert (unexported.result["export"], unexported.result["bench"]) == ({}, [])
    assert unexported.result["top1"] == finished.result["top1"]
    page = (place / "strict/report.html").read_text(encoding="utf-8")
    assert page.count("differs from the model, max |diff| of logits") == 2
    again = ssld.run(RUN, STRICT, out=place / "strict", device="cpu")
    assert again.result == unexported.result == ssld.load_run(place / "strict").result
    assert again.evaluate().top1 == finished.result["top1"]
    closing_table(dict(again.result))
    assert capsys.readouterr().out.splitlines()[-1] == f"export failed: {why}"
    assert "failures" not in finished.result


def test_an_export_that_failed_is_repeated_with_other_thresholds_which_its_contract_says(place, unexported):
    run = ssld.load_run(place / "strict", device="cpu")
    with pytest.raises(DeployError, match="onnx at 32 px differs from the model"):
        ssld.export(run, place / "strict/export")
    files = ssld.export(run, place / "strict/export", options={"gate_diff": 1e-3})
    contract = json.loads((place / "strict/export/contract.json").read_text())
    assert contract["gate"]["allowed"] == {"fp32": {"points": 0.0, "share": 1e-3}}
    assert contract["gate"]["formats"] == files
    assert write_report(place / "strict").is_file()
    page = (place / "strict/report.html").read_text(encoding="utf-8")
    assert "This one was made since, within fp32 0 points and a share of 0.001." in page


def test_it_is_the_stage_of_a_recipe_to_the_last_bit(place, finished):
    """The same training as `ssld.run` does it from list files: networks, images, losses, schedule, average and all."""
    trained = ssld.distill(
        ARCH, finished.teacher(), place / "train_labelled.txt", place / "val.txt", epochs=2, lr=0.05, seed=3,
        loss={"ssld": {}, "ce": {}}, size=32, data={"batch": 8, "eval_resize": 32}, gate=0,
        optim={"ema": 0.9, "warmup_epochs": 1, "weight_decay": 1e-4},
    )  # fmt: skip
    assert weights_digest(trained.student) == weights_digest(finished.student())
    assert trained.scores["top1"] == finished.result["top1"] == finished.evaluate().top1
    assert finished.stage("distill").scores["steps"] == trained.scores["steps"] == 4


def test_a_list_of_the_data_folder_is_found_from_any_folder_for_a_run_too(place, finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = eval_(target=str(place / "run"), weights=None, data="val.txt", device="cpu")
    assert (found["data"], found["top1"]) == (str(place / "val.txt"), finished.result["top1"])
    with pytest.raises(DataError) as caught:
        eval_(target=str(place / "run"), weights=None, data="gone.txt", device="cpu")
    where = f"recipes count from $SSLD_DATA, which is {place}"
    assert str(caught.value).startswith(f"gone.txt: no list file there; {where}; give one, or let")


def test_a_finished_run_is_loaded_with_its_networks(place, finished):
    assert (place / "run/report.html").is_file()
    run = ssld.load_run(place / "run")
    assert run.result == read_result(place / "run")
    assert weights_digest(run.teacher()) == weights_digest(run.stage("teach").network())
    assert weights_digest(run.student()) == weights_digest(run.stage("distill").network())
    assert run.evaluate(place / "train_labelled.txt").logits.shape == (16, CLASSES)
    with pytest.raises(RecipeError, match="no stage named 'distil'; did you mean 'distill'"):
        run.stage("distil")
    with pytest.raises(RecipeError, match="no teacher named 'big'"):
        run.teacher("big")
    with pytest.raises(UsageError, match="contradict"):
        ssld.run("quickstart", reuse=True, fresh=True)
    with pytest.raises(RunError, match="no run here"):
        ssld.load_run(place)


def test_a_stopped_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    settings = {
        "loss": {"gap": Gap(), "hint": {"student": "maps", "teacher": "maps"}},
        "stage": {"checkpoint_minutes": 0},
    }
    student, teacher = network(), network(6, seed=1)
    student.tap_paths = teacher.tap_paths = {"maps": "2"}
    whole = distil(student, teacher, **settings)
    monkeypatch.setattr(INTERRUPTED, "at", 5)
    with pytest.raises(KeyboardInterrupt):
        distil(student, teacher, folder=tmp_path / "kept", **settings)
    assert load(tmp_path / "kept").step == 5
    monkeypatch.setattr(INTERRUPTED, "at", -1)
    paddle.zeros([1])
    network(5)  # names of layers go on counting
    resumed = distil(student, teacher, folder=tmp_path / "kept", **settings)
    assert weights_digest(resumed.student) == weights_digest(whole.student)
    assert [r["step"] for r in resumed.history if r["kind"] == "train"] == list(range(1, 9))
    shown = recorded_input(tmp_path / "kept" / MODEL)
    assert shown == resumed.settings.data.evaluated
    again = distil(student, teacher, folder=tmp_path / "kept", **settings)
    assert (weights_digest(again.student), again.scores) == (weights_digest(whole.student), resumed.scores)


class Other(nn.Sequential):
    """The layers of a Sequential, called otherwise."""

    def forward(self, x):
        return super().forward(-x)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"lr": 0.2}, "optim.lr changed"),
        ({"loss": {"gap": Gap(2.0)}}, "loss.gap.factor is new"),
        ({"seed": 1}, "seed changed"),
        ({"train": (IMAGES[::-1].copy(), LABELS)}, "training images changed"),
        ({"val": (IMAGES[:8], LABELS[:8])}, "validation images changed"),
        ({"student": network(seed=2)}, "student changed"),
        ({"student": Other(*network().children())}, "student changed"),
        ({"teacher": network(6, seed=2)}, "teacher changed"),
        ({"norm": "running"}, "images for teacher changed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_refuses_another_training_in_one_line(tmp_path, changes, what):
    given = {"loss": {"gap": Gap()}, "epochs": 1, "folder": tmp_path / "kept"}
    distil(**given)
    with pytest.raises(RunError, match=f"kept: holds another training: {what}; give what it began with") as error:
        distil(**{**given, **changes})
    assert "\n" not in str(error.value)


def test_a_training_that_failed_in_its_first_step_does_not_hinder_the_mended_one(tmp_path, monkeypatch):
    given = {"loss": {"gap": Gap()}, "epochs": 1, "folder": tmp_path / "kept"}
    monkeypatch.setattr(INTERRUPTED, "at", 0)
    with pytest.raises(KeyboardInterrupt):
        distil(**given)
    monkeypatch.setattr(INTERRUPTED, "at", -1)
    (tmp_path / "kept" / "made_of.json.partial-4194304").write_text("half")
    assert distil(**given, lr=0.2).scores["steps"] == 4
    assert not [*tmp_path.glob("kept/*.partial*")]


def test_a_folder_refuses_other_code_of_a_loss_damaged_weights_and_what_is_no_training(tmp_path, monkeypatch):
    given = {"loss": {"gap": Gap()}, "epochs": 1, "folder": tmp_path / "kept"}
    distil(**given)
    with monkeypatch.context() as patch:
        patch.setattr(Gap, "__call__", lambda self, student, *others: student["logits"].sum(axis=-1))
        with pytest.raises(RunError, match="code of loss gap changed"):
            distil(**given)
    (tmp_path / "kept/model.safetensors").write_bytes(b"x")
    with pytest.raises(RunError, match=r"model\.safetensors is damaged"):
        distil(**given)
    with pytest.raises(RunError, match="is not empty and holds no training"):
        distil(folder=tmp_path)


def own(text, **outside):
    """The class `Own` of a notebook with this text, and with these values of other cells."""
    cells = {"__name__": "notebook", **outside}
    exec(text, cells)
    return cells["Own"]


def class_of(line, before="", **outside):
    """A class whose method is this line of code."""
    return own(f"{before}class Own:\n    def forward(self, x):\n        return {line}\n", **outside)


def test_the_digest_of_code_is_of_what_it_does_and_not_of_where_it_stands():
    first = code_digest(class_of("x in {'a', 'b'}"))
    assert code_digest(class_of("x in {'a', 'b'}", before="\n\n")) == first
    others = ["x in {'a', 'c'}", "x not in {'a', 'b'}", "x + 1", "x - 1", "max(x)", "min(x)", "[y + 1 for y in x]"]
    others.append("[y + 2 for y in x]")
    assert len({first, *(code_digest(class_of(line)) for line in others)}) == 1 + len(others)


LAYER = "class Own:\n    def forward(self, x):\n        return "


@pytest.mark.parametrize(
    "text",
    [
        "SHARE = {share}\n" + LAYER + "SHARE * x",
        "def part(x):\n    return {share} * x\n" + LAYER + "part(x)",
        "def share():\n    return {share}\ndef part(x):\n    return share() * x\n" + LAYER + "[part(y) for y in x]",
        "class Part:\n    def of(self, x):\n        return {share} * x\n" + LAYER + "Part().of(x)",
        "class Base:\n    share = {share}\nclass Own(Base):\n    pass\n",
        "class Own:\n    def forward(self, x, *, share={share}):\n        return share * x\n",
        "def of(share):\n    class Own:\n        def forward(self, x):\n            return share * x\n    return Own\n"
        "Own = of({share})\n",
    ],
    ids=["constant", "function", "function of a function", "class", "base", "default", "closure"],
)
def test_the_digest_of_code_covers_what_it_uses_of_ones_own_code(text):
    first = code_digest(own(text.format(share=0.5)))
    assert code_digest(own("\n" + text.format(share=0.5))) == first
    assert code_digest(own(text.format(share=0.25))) != first


def test_the_digest_of_code_covers_what_it_uses_of_ones_own_other_files():
    tools = [ModuleType("tools_of_a_notebook") for _ in range(3)]
    for module, line in zip(tools, ["0.5 * x", "0.25 * x", "0.5 * x\ndef unused(): pass"], strict=True):
        exec(f"def part(x):\n    return {line}\n", vars(module))
    digests = [code_digest(class_of("tools.part(x)", tools=module)) for module in tools]
    assert digests[0] == digests[2] != digests[1]


def test_the_digest_of_code_does_not_cover_what_it_does_not_use():
    first = code_digest(class_of("x.mean()", double=lambda x: 2 * x, np=np))
    assert code_digest(class_of("x.mean()", double=lambda x: 3 * x, mean=3, np=np)) == first
    counting = "calls = {}\ndef count():\n    global calls\n    calls += 1\n"
    assert len({code_digest(class_of("count()", before=counting.format(calls))) for calls in (0, 5)}) == 1


@pytest.mark.parametrize(
    ("error", "what", "changes"),
    [
        (DataError, "train: images of shape", {"train": (IMAGES.transpose(0, 3, 1, 2), LABELS)}),
        (DataError, "train: pixels of type float64; give uint8", {"train": (IMAGES / 255, LABELS)}),
        (DataError, "train: 3 labels for 32 images", {"train": (IMAGES, LABELS[:3])}),
        (DataError, "image 2 of train: label 4 is out of range; there are 4 classes", {"train": (IMAGES, LABELS + 2)}),
        (DataError, "image 0 of val: has no label", {"val": IMAGES}),
        (DataError, "image 0 of train: has no label; the loss ce", {"train": IMAGES, "loss": {"kl": {}, "ce": {}}}),
        (DataError, "32 training images do not fill", {"data": {"batch": 64}}),
        (RecipeError, "teacher: gives logits of 7 classes, the student of 4", {"teacher": network(classes=7)}),
        (RecipeError, "loss: ssld learns from a teacher", {"teacher": None}),
        (RecipeError, "teacher: no loss learns from it", {"loss": {"ce": {}}}),
        (RecipeError, "student: a function is no network", {"student": lambda x: x}),
        (RecipeError, "teacher: a forward pass of images", {"teacher": nn.Linear(3, 4)}),
        (RecipeError, "size: the network does not say the side", {"size": None}),
        (RecipeError, "no model named 'ResNet181'; did you mean", {"student": "ResNet181"}),
        (RecipeError, r"loss\.sssd: no loss named 'sssd'; did you mean 'ssld'", {"loss": {"sssd": {}}}),
        (RecipeError, r"loss\.mine: a Loss object has its options", {"loss": {"mine": {"kind": Gap(), "factor": 2}}}),
        (RecipeError, r"loss: a str is no loss", {"loss": "ssld"}),
        (RecipeError, r"optim\.emma: unknown key; did you mean 'ema'", {"optim": {"emma": 0.9}}),
        (RecipeError, "stage: the key 'labels' does not belong here", {"stage": {"labels": {}}}),
        (RecipeError, "gate: should be an integer from 0 to 1,000,000; got -1", {"gate": -1}),
        (RecipeError, "classes: should be an integer from 2 to 1,000,000; got 1.5", {"classes": 1.5}),
        (RecipeError, "seed: should be an integer from 0 to .*; got nan", {"seed": math.nan}),
        (RecipeError, "size: should be an integer from 1 to 8,192; got 0", {"size": 0}),
        (RecipeError, r"optim\.lr: should be a number above 0, at most 1,000; got 0", {"lr": 0}),
        (RecipeError, "dkd needs images of one label each",
         {"loss": {"dkd": {}}, "data": {"batch": 8, "augment": {"mixup": 0.2}}}),
        (RecipeError, r"combine\.weights: of a; the teachers are a, b",
         {"teacher": {"a": network(), "b": network()}, "combine": {"weights": {"a": 1}}}),
        (RunError, "about chance.*gate=0 skips this check", {"gate": 32}),
        (RunError, "ResNet50_vd_ssld: no weights at", {"teacher": "ResNet50_vd_ssld"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_line_before_the_first_step(
    tmp_path, monkeypatch, error, what, changes
):
    monkeypatch.setenv("SSLD_WEIGHTS", str(tmp_path))
    with pytest.raises(error, match=what) as found:
        distil(**changes)
    assert "\n" not in str(found.value)


def test_images_come_in_many_forms_and_train_alike(tmp_path):
    mixed = [None, *LABELS[1:].tolist()]
    losses = {"ssld": {}, "ce": {"unlabelled": "ignore"}}
    pairs = list(zip(IMAGES, mixed, strict=True))
    forms = [
        (IMAGES, mixed),
        (list(IMAGES), np.array([-1, *LABELS[1:]])),
        pairs,
        ({"image": image, "label": label} for image, label in pairs),
        lambda: iter(pairs),
    ]
    ends = {weights_digest(distil(train=form, loss=losses, epochs=0.25).student) for form in forms}
    assert len(ends) == 1


def test_several_teachers_speak_together_and_one_expects_images_of_its_own():
    one, other = network(6, seed=1), network(5, seed=2)
    alone = weights_digest(distil(teacher=one, epochs=0.25).student)
    weighed = {"a": one, "b": other}
    first_alone = {"mean": "logits", "weights": {"a": 1, "b": 0}}
    assert weights_digest(distil(teacher=weighed, combine=first_alone, epochs=0.25).student) == alone
    both = weights_digest(distil(teacher=weighed, epochs=0.25).student)
    larger = weights_digest(distil(teacher=one, teacher_input={"size": 12, "std": [0.5] * 3}, epochs=0.25).student)
    assert len({alone, both, larger}) == 3
    with pytest.raises(RecipeError, match="teacher_input: no key 'resize'"):
        distil(teacher_input={"resize": 12})


def test_a_training_goes_on_from_another_one_and_teaches_the_next():
    first = distil(teacher=None, loss={"ce": {}}, epochs=0.25)
    second = ssld.distill(first, first, DATA, DATA, **{**SETTINGS, "size": None, "epochs": 0.25})
    assert second.settings.data.size == SIZE
    assert weights_digest(second.student) != weights_digest(first.student)


def test_a_network_is_evaluated_and_predicts_as_its_logits_say():
    trained = distil(teacher=None, loss={"ce": {}}, epochs=20)
    found = ssld.evaluate(trained.student, IMAGES, LABELS, size=SIZE)
    assert found.top1 == 100 * np.mean(found.predicted == LABELS) == trained.scores["top1"]
    assert found.per_class == tuple(100 * np.mean(found.predicted[c == LABELS] == c) for c in range(CLASSES))
    assert np.array_equal(ssld.predict(trained, IMAGES), found.logits)
    other = ssld.predict(trained.student, IMAGES, size=SIZE, data={"mean": [0.5] * 3})
    assert not np.allclose(other, found.logits)
    with pytest.raises(DataError, match="image 0 of images: has no label"):
        ssld.evaluate(trained, IMAGES)
    with pytest.raises(RecipeError, match="knows how its images are shown"):
        ssld.evaluate(trained, IMAGES, LABELS, size=16)
    with pytest.raises(DataError, match="labels are given twice"):
        ssld.evaluate(trained, DATA, LABELS)


def test_a_trained_network_leaves_as_a_file_that_passed_the_gate(tmp_path):
    trained = distil(teacher=None, loss={"ce": {}}, epochs=1)
    names = ["no", "a little", "some", "much"]
    told = trained.export(tmp_path / "out", options={"formats": ["onnx"]}, class_names=names)
    assert told["onnx"]["agree"] == 100
    contract = json.loads((tmp_path / "out/contract.json").read_text())
    assert (contract["class_names"], contract["classes"], contract["input"]["size"]) == (names, CLASSES, SIZE)
    assert contract["input"]["background"] == [255, 255, 255]  # what a caller lays transparent pixels on
    assert contract["gate"]["images"] == 32
    with pytest.raises(RecipeError, match="no images to compare"):
        ssld.export(network(), tmp_path / "other", size=SIZE)
    with pytest.raises(RecipeError, match=r"export: options: formats"):
        trained.export(tmp_path / "other", options={"formats": ["onxx"]})
    with pytest.raises(RecipeError, match="2 class_names for 4 classes"):
        trained.export(tmp_path / "other", class_names=names[:2])


def test_a_recipe_that_is_a_mapping_may_change_another_one_and_takes_overrides(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT / "recipes")
    plan = load_plan({"base": "quickstart.yaml", "stages": {"distill": {"epochs": 3}}}, ["seed=5"])
    assert (plan.name, plan.seed, plan.stages["distill"].epochs) == ("recipe", 5, 3)
    with pytest.raises(RecipeError, match=r"^recipe: classes: this key is required"):
        load_plan({"student": {"arch": "ResNet18"}, "stages": {}}, [])
    with pytest.raises(RecipeError, match=r"recipe: base: no file nothing\.yaml"):
        load_plan({"base": "nothing.yaml"}, [])
