"""Teachers of a recipe: from every source, alone and together, in caches and minings; and a line for each mistake."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import paddle
import pytest
from onnx import numpy_helper
from PIL import Image

from ssld import labels
from ssld.distill.images import eval_loader
from ssld.distill.labelling import filled_cache
from ssld.distill.networks import trained_network
from ssld.distill.runs import Run
from ssld.distill.stage import train_step
from ssld.distill.teachers import Teachers, check_files, load_teacher
from ssld.distill.trial import needs_trial, on_trial
from ssld.errors import RecipeError, SsldError
from ssld.models import evaluating
from ssld.plans import load_plan
from ssld.publish import lineage
from ssld.run import ensure_data, run_plan
from ssld.runtime import Runtime
from ssld.track import Options
from tests.unit.digit_teachers import BASE, FIRST, INPUT, LARGE, ONNX, PROGRAM, RUN, STAGE, WEIGHTS, taught
from tests.unit.own_code import digits
from tests.unit.own_recipe import write_code
from tests.unit.some_recipe import changed, written

HERE = Runtime(rank=0, world=1, gpu=None)
QUIET = Options(wandb="disabled")
KL = {"kl": {}}
TEACHERS = {
    "onnx": ONNX,
    "program": PROGRAM,
    "run": RUN,
    "weights": WEIGHTS,
    "large": LARGE,
    "born": {"stage": "born"},
}
WEIGHED = {"weights": {"onnx": 3, "large": 1}}
ALL = {
    **BASE,
    "teachers": TEACHERS,
    "stages": {
        "teach": {"network": "large", "loss": {"ce": {}}},
        "born": {"loss": {"ce": {}}},
        **{f"by_{name}": {"teacher": name, "loss": KL} for name in TEACHERS},
        "gap": {"teacher": "onnx", "loss": {"gap": {}}},
        "logits": {"teachers": ["onnx", "large"], "combine": {"mean": "logits", **WEIGHED}, "loss": KL},
        "ebkd": {"teachers": ["onnx", "large"], "loss": {"ebkd": {}}},
        "aver": {"teachers": ["onnx", "run"], "loss": {"aver": {}}},
        "ca_mkd": {"teachers": ["large", "weights"], "loss": {"ca_mkd": {}}},
        "probabilities": {"teachers": ["onnx", "large"], "combine": WEIGHED, "loss": KL},
    },
}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory):
    """The folder that the tests work in, with the user's files, the finished run `first`, and its weights."""
    place = tmp_path_factory.mktemp("teachers")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("SSLD_LABELS", str(place / "caches"))
        patch.setenv("SSLD_DATA", str(place / "data"))
        write_code(place)
        run_plan(plan_of(FIRST), Path("first"), HERE, QUIET)
        shutil.copyfile(Run.of_folder(Path("first"), HERE).last.model_file, "tiny.safetensors")
        yield place


@pytest.fixture(scope="module")
def whole(place):
    """The finished run `all`, and its result."""
    result = run_plan(plan_of(ALL), Path("all"), HERE, QUIET)
    return Run.of_folder(Path("all"), HERE), result


def plan_of(tree, *overrides, smoke=False):
    return load_plan(str(written(Path(), tree)), list(overrides), smoke=smoke)


def run_of(tree, folder="unused", **options):
    return Run.of_plan(plan_of(tree, **options), Path(folder), HERE)


def labelled(run, stage, number=8):
    """Images as the student sees them, and the outputs of the teacher of a stage for them."""
    stage = run.stage(stage)
    batch = next(iter(eval_loader(stage, take=number).batches()))
    teacher = Teachers(run).of(stage).on(stage)
    return batch["image"].numpy(), next(iter(teacher.labelled([batch])))["teacher"]


def in_onnxruntime(images, file=ONNX["onnx"]):
    """Logits of the ONNX file, of images with the normalisation of the student."""
    mean, std = (np.array(INPUT[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    session = onnxruntime.InferenceSession(file)
    shown = ((images * std + mean - 0.3) / 0.4).astype("float32")
    return session.run(None, {session.get_inputs()[0].name: shown})[0]


def eager(network, images):
    with paddle.no_grad(), evaluating(network):
        return network(paddle.to_tensor(images)).numpy()


def softmax(logits):
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def test_a_teacher_from_every_source_teaches_a_stage(whole):
    run, _ = whole
    records = {name: stage.record() for name, stage in run.stages.items()}
    assert {record["steps"] for record in records.values()} == {3}
    assert all(np.isfinite(record["loss"]) for record in records.values())
    assert {name for name, record in records.items() if "teacher_engine" not in record} == {"teach", "born"}
    assert len({record["sha256"] for record in records.values()}) == len(records)


def test_each_teacher_says_what_its_network_says_elsewhere(whole):
    run, _ = whole
    images, said = labelled(run, "by_onnx")
    np.testing.assert_allclose(said["logits"].numpy(), in_onnxruntime(images), rtol=1e-3, atol=1e-3)
    wanted = eager(trained_network(Run.of_folder(Path("first"), HERE).last), images)
    for name in ("by_run", "by_weights", "by_program"):
        images, said = labelled(run, name)
        np.testing.assert_allclose(said["logits"].numpy(), wanted, rtol=1e-4, atol=1e-4, err_msg=name)
    for name in ("teach", "born"):
        teacher = load_teacher(run, {"teach": "large", "born": "born"}[name])
        wanted = eager(trained_network(run.stage(name)), images)
        np.testing.assert_allclose(eager(teacher.network, images), wanted, rtol=1e-5, err_msg=name)
    assert labelled(run, "gap")[1]["embedding"].shape == [8, 48]


def test_several_teachers_speak_as_the_mean_of_probabilities_or_of_logits_by_weight(whole):
    run, _ = whole
    images, _ = labelled(run, "by_onnx")
    large = labelled(run, "by_large")[1]["logits"].numpy()
    theirs = in_onnxruntime(images)
    _, said = labelled(run, "logits")
    np.testing.assert_allclose(said["logits"].numpy(), 0.75 * theirs + 0.25 * large, rtol=1e-3, atol=1e-3)
    _, said = labelled(run, "probabilities")
    wanted = 0.75 * softmax(theirs) + 0.25 * softmax(large)
    np.testing.assert_allclose(softmax(said["logits"].numpy()), wanted, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.exp(said["logits"].numpy()).sum(1), 1, rtol=1e-4)  # logarithms of probabilities


def test_a_loss_that_reads_teachers_apart_gets_each_by_its_name(whole):
    run, _ = whole
    images, said = labelled(run, "ebkd")
    assert list(said.each) == ["onnx", "large"]
    np.testing.assert_allclose(said.each["onnx"]["logits"].numpy(), in_onnxruntime(images), rtol=1e-3, atol=1e-3)
    assert [one["map"].shape[1] for one in labelled(run, "ca_mkd")[1].each.values()] == [16, 8]


def test_the_result_and_its_page_show_teachers_that_cannot_be_counted(whole):
    run, result = whole
    teacher = result["teacher"]
    assert (teacher["params"], teacher["macs"], teacher["source"]) == (None, None, "measured")
    assert teacher["arch"].startswith("torchvision_digits + Large@")
    assert teacher["top1"] > 85
    assert result["agreement"]["only_teacher"] > 0
    page = Path("all/report.html").read_text()
    assert teacher["arch"] in page
    made = {item.name: item for item in lineage(run, result)}
    assert (
        made["teacher-torchvision_digits"].digest
        == made["some-student-" + result["student"]["arch"]].made_from["teacher-torchvision_digits"]
    )
    assert {"some-teacher-large-nets.py:Large", "some-teacher-born-nets.py:Tiny"} <= made.keys()


def other_onnx(file, factor=2):
    """A copy of the network whose logits are multiplied."""
    model = onnx.load(ONNX["onnx"])
    last = model.graph.output[0].name
    (node,) = [node for node in model.graph.node if last in node.output]
    for array in model.graph.initializer:
        if array.name in node.input and len(array.dims) >= 1:
            array.CopyFrom(numpy_helper.from_array(factor * numpy_helper.to_array(array), array.name))
    onnx.save(model, file)
    return str(file)


CACHED = {"labels": {"views": 1, "k": None}}


@pytest.mark.parametrize(
    ("teachers", "stage"),
    [
        ({"t": ONNX}, {}),
        ({"t": PROGRAM}, {}),
        ({"t": RUN}, {}),
        ({"t": WEIGHTS}, {}),
        (
            {"t": ONNX, "u": WEIGHTS},
            {"teachers": ["t", "u"], "combine": {"mean": "logits", "weights": {"t": 1, "u": 3}}},
        ),
    ],
    ids=["onnx", "program", "run", "weights", "several"],
)  # fmt: skip
def test_a_label_cache_holds_what_the_teachers_say_and_its_manifest_says_who_they_are(teachers, stage):
    run = run_of({**taught(ONNX, **CACHED, **stage), "teachers": teachers})
    teacher = Teachers(run).of(run.last)
    cache, ask = filled_cache(run.last, teacher)
    assert labels.verify(cache, ask(), 8) < 1e-5
    manifest = json.loads((cache.folder / "manifest.json").read_text())
    assert manifest["teacher"] == json.loads(json.dumps(teacher.identity()))
    again, _ = filled_cache(run.last, Teachers(run).of(run.last))
    assert again.folder == cache.folder


def test_another_file_and_another_combination_are_other_label_caches(place):
    def folder(tree):
        run = run_of(tree)
        return filled_cache(run.last, Teachers(run).of(run.last))[0].folder

    both = changed(taught(ONNX, teachers=["t", "u"], **CACHED), "teachers.u", WEIGHTS)
    others = [
        taught(ONNX, **CACHED),
        taught({**ONNX, "onnx": other_onnx(place / "other.onnx")}, **CACHED),
        taught({**ONNX, "input": {**ONNX["input"], "mean": [0.31] * 3}}, **CACHED),
        both,
        changed(both, "stages.one.combine.mean", "logits"),
        changed(both, "stages.one.combine.weights", {"t": 1, "u": 2}),
    ]
    assert len({folder(tree) for tree in others}) == len(others)
    shutil.copyfile(ONNX["onnx"], place / "copy.onnx")
    assert folder(taught({**ONNX, "onnx": "copy.onnx"}, **CACHED)) == folder(others[0])


def test_a_teacher_of_the_recipe_mines_by_its_name(place):
    for number, (image, label) in enumerate(digits._samples(range(100, 160))):
        for folder in ("pool", "val"):
            (place / "data" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / "data" / "pool" / f"{number}.png")
        Image.fromarray(image).transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(place / "data" / "val" / f"{number}.png")
        with (place / "data" / "val" / "list.txt").open("a") as stream:
            stream.write(f"{number}.png {label}\n")
    tree = taught({**ONNX, "gate": 0})
    tree["prepare"] = {"mined": {"sources": ["pool"], "teacher": "t", "against": "val/list.txt", "k": 3}}
    run = run_of(tree)
    ensure_data(run, Teachers(run))
    assert '"name": "t"' in (place / "data/mined/job.json").read_text()
    known = (place / "data/mined/mined.txt").read_text().split()
    assert 3 <= len(known) <= 30
    pictures = np.stack([np.asarray(Image.open(file)) for file in known]).transpose(0, 3, 1, 2) / 255
    mean, std = (np.array(INPUT[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    said = in_onnxruntime((pictures - mean) / std).argmax(1)
    assert np.bincount(said, minlength=10).max() <= 3  # at most k of each class that the teacher names


def test_a_card_teaches_a_smoke_run_without_its_weights():
    run = run_of({**BASE, "teacher": {"card": "ResNet50_vd"}, "stages": {"one": {"loss": KL}}}, smoke=True)
    ensure_data(run, Teachers(run))
    images, said = labelled(run, "one")
    assert said["logits"].shape == [len(images), 10]


def without(tree, key):
    return {name: value for name, value in tree.items() if name != key}


def onnx_with(**changes):
    """The ONNX teacher with some keys changed; those of its input among them."""
    given = {key: changes.pop(key) for key in list(changes) if key in ("size", "mean", "std", "layout")}
    return {**ONNX, "input": {**ONNX["input"], **given}, **changes}


COLOURS = {  # four classes
    "classes": 4,
    "stage": {**STAGE, "data": {**STAGE["data"], "train": ["images.py:Train"], "val": "images.py:Val"}},
}
ENGINE = {"engine": "onnxruntime"}
SRRL = {"ce": {}, "srrl": {"student": "map"}}
TWO = {"t": ONNX, "u": WEIGHTS}
AT_LOAD = {  # what is wrong, the line, and the same with its advice followed
    "no gives": (
        taught(without(ONNX, "gives")), "teachers.t.gives: this key is required; give logits or probabilities",
        taught(ONNX),
    ),
    "no input": (
        taught(without(ONNX, "input")), "teachers.t.input: this key is required; give size, mean and std",
        taught(ONNX),
    ),
    "no such tap": (
        taught(without(ONNX, "taps"), {"gap": {}}),
        "loss.gap: reads 'embedding' of the teacher, and teacher 't' has no such tap; add it to the taps of teacher",
        taught(ONNX, {"gap": {}}),
    ),
    "engine of a file": (
        taught({**ONNX, **ENGINE}), "teachers.t.engine: says nothing of a teacher that comes from onnx; leave it out",
        taught(ONNX),
    ),
    "engine with batch statistics": (
        taught({**WEIGHTS, **ENGINE, "norm": "batch"}), "set teachers.t.norm: running, or teachers.t.engine: eager",
        taught({**WEIGHTS, "engine": "eager", "norm": "batch"}),
    ),
    "tap of an engine": (
        taught({**WEIGHTS, **ENGINE}, {"gap": {}}),
        "reads 'embedding' of the teacher, and an engine gives logits; set engine: eager of teacher 't'",
        taught(WEIGHTS, {"gap": {}}),
    ),
    "tap of a cache": (
        taught(WEIGHTS, {"gap": {}}, labels={}),
        "reads 'embedding' of the teacher, and a label cache keeps logits; set labels: null in this stage",
        taught(WEIGHTS, {"gap": {}}, labels=None),
    ),
    "cache with batch statistics": (
        taught({**WEIGHTS, "norm": "batch"}, labels={}), "set teachers.t.norm: running, or labels: null",
        taught(WEIGHTS, labels={}),
    ),
    "cache of teachers apart": (
        {**taught(ONNX, {"ebkd": {}}, teachers=["t", "u"], labels={}), "teachers": TWO},
        "a loss reads every teacher apart, and a cache keeps what they say together; set it to null",
        {**taught(ONNX, {"ebkd": {}}, teachers=["t", "u"], labels=None), "teachers": TWO},
    ),
    "classifier of a file, beside a tap": (
        taught(ONNX, SRRL), "reads the classifier of the teacher, and onnx gives no weights of 't'; use another",
        taught(WEIGHTS, SRRL),
    ),
    "classifier of a file, without a tap": (
        taught(ONNX, {"wkd_l": {}}), "reads the classifier of the teacher, and onnx gives no weights of 't'; use",
        taught(WEIGHTS, {"wkd_l": {}}),
    ),
    "classifier of an engine": (
        taught({**WEIGHTS, **ENGINE}, {"wkd_l": {}}),
        "reads the classifier of the teacher, and an engine gives logits; set engine: eager",
        taught(WEIGHTS, {"wkd_l": {}}),
    ),
    "classifier of a cache": (
        taught(WEIGHTS, {"wkd_l": {}}, labels={"k": None}),
        "reads the classifier of the teacher, and a label cache keeps logits; set labels: null",
        taught(WEIGHTS, {"wkd_l": {}}, labels=None),
    ),
    "classifier of several": (
        {**taught(WEIGHTS, {"wkd_l": {}}, teachers=["t", "u"]), "teachers": {"t": WEIGHTS, "u": RUN}},
        "reads the classifier of the teacher, and several teachers have only their logits in common; name one teacher",
        {**taught(WEIGHTS, {"wkd_l": {}}, teacher="t"), "teachers": {"t": WEIGHTS, "u": RUN}},
    ),
    "weights of some teachers": (
        {**taught(ONNX, teachers=["t", "u"], combine={"weights": {"t": 1}}), "teachers": TWO},
        "combine.weights: of t; the teachers are t, u; give each of them its weight",
        {**taught(ONNX, teachers=["t", "u"], combine={"weights": {"t": 1, "u": 2}}), "teachers": TWO},
    ),
    "miner that a stage trains": (
        {
            **taught(RUN, teacher="t"), "teachers": {"t": RUN, "s": {"stage": "one"}},
            "prepare": {"m": {"sources": ["p"], "teacher": "s", "against": "v", "k": 1}},
        },
        "prepare.m.teacher: stage 'one' trains 's', and images are mined before the first stage; name another teacher",
        None,
    ),
    "file as a miner in an engine": (
        {**taught(ONNX), "prepare": {"m": {"sources": ["p"], "teacher": "t", "against": "v", "k": 1, **ENGINE}}},
        "prepare.m.engine: onnxruntime cannot hold teacher 't', which comes from onnx; leave it out",
        None,
    ),
}  # fmt: skip
IN_TIME = {  # the same of what shows when the teachers are loaded, or in a trial, before the first step
    "classes of a file": (
        {**taught(ONNX), **COLOURS},
        "output: the network has 10 classes, the recipe 4; name the index of each class of the recipe in a classes_fil",
        {**taught({**ONNX, "classes_file": "four.txt", "gate": 0}), **COLOURS},
    ),
    "classes of a run": (
        {**taught(RUN), **COLOURS},
        "teachers.t.run: first was trained for 10 classes, the recipe has 4; give a run of the same classes",
        taught(RUN),
    ),
    "classes of weights": (
        {**taught(WEIGHTS), **COLOURS}, "classifier.weight is [8, 10], the network has [8, 4]", taught(WEIGHTS),
    ),
    "layout": (
        taught(onnx_with(layout="nhwc")),
        "input.layout: nhwc, but the network takes float32 [?, 3, 16, 16]; set input.layout: nchw", taught(ONNX),
    ),
    "size": (
        taught(onnx_with(size=24)),
        "input.size: 24, but the network takes float32 [?, 3, 16, 16]; set it to 16", taught(ONNX),
    ),
    "gives": (
        taught(onnx_with(gives="probabilities")), "gives: probabilities, but values start at", taught(ONNX),
    ),
    "tensor of a tap": (
        taught(onnx_with(taps={"embedding": "meen"}), {"gap": {}}),
        "taps.embedding: the network has no tensor 'meen'; did you mean 'mean'?", taught(ONNX, {"gap": {}}),
    ),
    "no file": (
        taught({**ONNX, "onnx": "none.onnx"}),
        "teachers.t.onnx: no file or folder none.onnx; give a path that is there", taught(ONNX),
    ),
    "no program": (
        taught({**PROGRAM, "program": "none"}), "teachers.t.program: no file or folder none; give a path", None,
    ),
    "no run": (taught({**RUN, "run": "none"}), "teachers.t.run: no file or folder none; give a path", None),
    "no weights": (
        taught({**WEIGHTS, "weights": "none.safetensors"}), "teachers.t.weights: no file or folder none.safet", None,
    ),
    "no classes file": (
        taught({**ONNX, "classes_file": "none.txt"}), "teachers.t.classes_file: no file or folder none.txt; give", None,
    ),
    "class order": (
        taught({**ONNX, "classes_file": "turned.txt"}),
        "so their order is wrong: check classes_file (teachers.t.gate=0 skips this check)",
        taught({**ONNX, "classes_file": "turned.txt", "gate": 0}),
    ),
    "chance": (
        taught({**ONNX, "onnx": "blind.onnx"}),
        "about chance; check class order, normalisation and layout (teachers.t.gate=0 skips this check)", None,
    ),
    "normalisation": (
        taught(onnx_with(mean=[127.5] * 3, std=[0.1] * 3)),
        "teachers.t.input.mean.0: should be a number from 0 to 1; got 127.5", None,
    ),
    "accuracy": (taught({**ONNX, "least_top1": 99}), "below least_top1 99; check", taught({**ONNX, "least_top1": 80})),
    "options of weights": (
        taught({**WEIGHTS, "options": {"width": 5}}), "body.0.weight is [8, 3, 3, 3], the network has [5, 3, 3, 3]",
        taught({**WEIGHTS, "options": {"width": 8}}),
    ),
    "tap of the student": (
        taught(ONNX, {"hint": {"teacher": "embedding", "student": "stage3"}}),
        "no tap 'stage3'; it gives embedding, map", None,
    ),
    "one teacher to be compared": (
        taught(ONNX, {"ebkd": {}}), "this stage has 1 to be read apart; give two or more, or use the loss kl",
        {**taught(ONNX, {"ebkd": {}}, teachers=["t", "u"]), "teachers": TWO},
    ),
}  # fmt: skip


def fails_before_training(tree):
    """The one line of a recipe that cannot be run, said before anything is trained."""
    (Path("four.txt")).write_text("0\n1\n2\n3\n")
    (Path("turned.txt")).write_text("".join(f"{(index + 1) % 10}\n" for index in range(10)))
    other_onnx("blind.onnx", np.float32(0))
    shutil.rmtree("wrong", ignore_errors=True)
    with pytest.raises(SsldError) as caught:
        run_plan(plan_of(tree), Path("wrong"), HERE, QUIET)
    assert not list(Path("wrong").glob("stages/*"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("case", AT_LOAD)
def test_a_teacher_that_cannot_teach_is_one_line_when_the_recipe_is_read(case):
    wrong, line, right = AT_LOAD[case]
    with pytest.raises(RecipeError) as caught:
        plan_of(wrong)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    if right:
        tried(right)


@pytest.mark.parametrize("case", IN_TIME)
def test_a_teacher_that_is_not_what_the_recipe_says_is_one_line_before_the_first_step(case):
    wrong, line, right = IN_TIME[case]
    assert line in fails_before_training(wrong)
    if right:
        tried(right)


def tried(tree):
    """What a run does before the first step, and one step of every stage."""
    run = run_of(tree)
    check_files(run)
    teachers = Teachers(run)
    teachers.check(run.stages.values())
    for name in run.stages:
        with on_trial(run.plan, name, 2, HERE, teachers) as (state, batches):
            train_step(state, batches, 0, first=True)


def test_a_loss_of_several_teachers_with_one_is_told_before_the_stage_in_front_of_it_is_trained():
    """Networks of the zoo with losses of logits are tried only where a loss reads more than that."""
    tree = {**taught(ONNX), "student": {"arch": "MobileNetV3_small_x0_35"}}
    tree["stages"] = {"plain": {"loss": {"ce": {}}}, "distill": {"loss": {"ebkd": {}}}}
    assert "stage distill: teachers: a loss compares several teachers" in fails_before_training(tree)


def test_a_stage_is_tried_only_where_a_step_shows_more_than_the_check_of_the_recipe():
    zoo = {"student": {"arch": "MobileNetV3_small_x0_35"}, "code": [], "stage": COLOURS["stage"], "classes": 4}
    zoo["stage"] = {**zoo["stage"], "data": {**STAGE["data"], "train": ["a.txt"], "val": "b.txt"}}
    cases = {
        "ce": False, "kl": False, "ssld": False, "dkd": False, "at": True, "crd": True, "ebkd": True, "wkd_l": True,
    }  # fmt: skip
    for loss, wanted in cases.items():
        tree = {**taught({"arch": "ResNet18", "weights": "x", "input": INPUT}, {loss: {}}), **zoo}
        assert needs_trial(run_of(tree).last) is wanted, loss
    assert needs_trial(run_of(taught(ONNX)).last)  # of own code
