"""What goes wrong in a run is one line that names it, and nothing that was saved before is lost."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ssld import models, weights
from ssld.data import fake
from ssld.distill.images import check_data
from ssld.distill.runs import Run
from ssld.plans import load_plan
from ssld.runtime import Runtime
from tests.e2e.command import command, fails, ssld, succeeds, surroundings, write_recipe

TREE = {
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "stage": {
        "data": {"train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 16, "batch": 4, "eval_batch": 4},
        "optim": {"lr": 0.1},
        "checkpoint_minutes": 0,
    },
    "stages": {"plain": {"epochs": 1, "loss": {"ce": {}}}},
    "export": {"formats": ["paddle"], "gate_images": 4},
    "bench": {"engines": ["paddle"], "repeats": 2, "warmup": 1},
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    fake(root, 4, train=8, val=4, unlabelled=4, size=20)
    return root


@pytest.fixture
def place(tmp_path, images):
    """A working folder with a recipe and its images."""
    shutil.copytree(images, tmp_path / "data" / "d")
    write_recipe(tmp_path, TREE)
    return tmp_path


def run_fails(place, *words, **changes):
    return fails("run", "some.yaml", "--wandb", "disabled", "--out", "out", *words, cwd=place, **changes)


def rewrite(file, change):
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


# --- the recipe


def test_an_unknown_key_of_a_file_is_named(place):
    write_recipe(place, {**TREE, "stage": {**TREE["stage"], "optm": {}}})
    line = run_fails(place)
    assert line == "ssld run: some.yaml: stages.plain.optm: unknown key; did you mean 'optim'?"


def test_a_teacher_s_engine_that_cannot_run_here_is_named_before_anything_is_trained(place):
    teacher = {"card": "MobileNetV3_large_x1_0_ssld", "norm": "running", "gate": 0}
    stages = {**TREE["stages"], "distill": {"epochs": 1, "loss": {"ssld": {}}}}
    for engine, message in (
        ("tensorrt", "teacher.engine: tensorrt runs on a GPU; set teacher.engine=eager"),
        ("paddlelite", "engine 'paddlelite': paddlelite is not installed; pip install paddlelite where"),
    ):
        write_recipe(place, {**TREE, "stages": stages, "teacher": {**teacher, "engine": engine}})
        assert message in run_fails(place, begun=True)
        assert not (place / "out" / "metrics.jsonl").exists()
        shutil.rmtree(place / "out")


# --- data


def test_a_missing_data_folder_is_named(place):
    shutil.rmtree(place / "data")
    line = run_fails(place)
    where = "recipes count from `data` in the current folder, for $SSLD_DATA is not set"
    what = f"data/d: no such data folder; {where}; check the path or run `ssld data prepare`"
    assert line == f"ssld run: stage plain: {what}"


def test_an_empty_data_folder_is_named(place):
    shutil.rmtree(place / "data" / "d")
    (place / "data" / "d").mkdir()
    assert "data/d/train_labelled.txt: no such list file; recipes count from `data`" in run_fails(place)
    (place / "empty").mkdir()
    line = fails("data", "prepare", "folder", "--source", "empty", cwd=place, begun=True)
    assert "empty" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: [lines[0], "just words\n", *lines[2:]],
            "train_labelled.txt:2: bad line 'just words'; a line is",
        ),
        (
            lambda lines: [*lines[:3], "images/x.jpg 4\n"],
            "train_labelled.txt:4: label 4 is out of range; the recipe has 4",
        ),
        (lambda lines: ["images/x.jpg -3\n", *lines], "train_labelled.txt:1: label -3 is out of range"),
        (lambda lines: [], "train_labelled.txt: the list has no line"),
        (lambda lines: lines[:3], "3 training images do not fill one global batch of 4"),
        (lambda lines: [lines[0].split()[0] + "\n", *lines[1:]], "has no label"),
    ],
    ids=["bad line", "label too large", "label below -1", "no line", "too few", "unlabelled"],
)
def test_a_list_that_cannot_be_used_is_named_before_training(place, change, message):
    rewrite(place / "data/d/train_labelled.txt", change)
    assert message in run_fails(place)
    assert not (place / "out" / "metrics.jsonl").exists()


def test_a_validation_set_with_other_classes_than_the_training_set_is_refused(place):
    shutil.copytree(place / "data/d", place / "data/apart")
    (place / "data/d/classes.txt").write_text("ant\nbee\ncat\ndog\n")
    (place / "data/apart/classes.txt").write_text("ant\ncat\ndog\n")
    line = run_fails(place, "stages.plain.data.val=apart/val.txt")
    assert "stage plain: " in line
    assert "apart/classes.txt: label 1 is 'cat', beside " in line
    assert line.endswith("d/train_labelled.txt it is 'bee'; prepare this set anew with --class-list data/d/classes.txt")


@pytest.mark.parametrize(("names", "said"), [("ant bee cat dog elk", "names 5"), ("ant bee", "names 2"), (None, "")])
def test_more_or_fewer_names_of_classes_than_the_recipe_has_are_remarked(place, names, said, monkeypatch, capsys):
    monkeypatch.chdir(place)
    if names:
        (place / "data/d/classes.txt").write_text(names.replace(" ", "\n") + "\n")
    check_data(Run.of_plan(load_plan("some.yaml", ()), place / "out", Runtime(rank=0, world=1, gpu=None)))
    errors = capsys.readouterr().err
    expected = f"data/d/classes.txt: {said} classes, and the recipe has 4 (classes: ...)\n" if names else ""
    assert errors == expected


def test_a_list_that_is_not_scored_by_its_labels_alone_is_refused_as_validation_images(place):
    (place / "data/d/val.scoring.json").write_text('{"classes": [0, 1]}')
    line = run_fails(place)
    assert line.startswith(
        "ssld run: stage plain: data/d/val.txt: val.scoring.json says how to score it, as only `ssld"
    )


def test_an_unreadable_image_is_found_by_data_check_and_named_by_a_run(place):
    victim, gone = (place / "data/d/images" / f"0000{n}.jpg" for n in (2, 5))
    victim.write_bytes(victim.read_bytes()[:100])
    gone.unlink()
    done = ssld("data", "check", "data/d/train_labelled.txt", cwd=place)
    assert done.returncode == 1
    bad = [line for line in done.stderr.splitlines() if line.startswith("data/d/images/")]
    assert [line.partition(":")[0] for line in bad] == ["data/d/images/00002.jpg", "data/d/images/00005.jpg"]
    wanted = "ssld data: data/d/train_labelled.txt: 2 of 8 images cannot be read; "
    wanted += "remove them from the list, or let --out FILE write a list without them"
    assert done.stderr.splitlines()[-1] == wanted
    line = run_fails(place, begun=True)
    assert "unreadable image" in line
    assert "0000" in line


# --- weights, device, folder


def test_weights_that_do_not_fit_are_refused_before_training(place):
    tree = {**TREE, "classes": 1000, "teacher": {"card": "MobileNetV3_large_x1_0_ssld", "gate": 0}}
    tree["stages"] = {"distill": {"epochs": 1, "loss": {"ssld": {}}}}
    write_recipe(place, {**tree, "teacher": {**tree["teacher"], "weights": "w.safetensors"}})
    assert "no weights at w.safetensors; download https://" in run_fails(place, begun=True)
    weights.save(models.create("MobileNetV3_small_x0_35"), place / "w.safetensors")
    line = run_fails(place, begun=True)
    assert "w.safetensors: made for MobileNetV3_small_x0_35, the network is MobileNetV3_large_x1_0" in line


def test_a_gpu_that_is_not_there_is_named(place):
    line = run_fails(place, "--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert line.startswith("ssld run: --device gpu: ")
    assert "use --device cpu" in line


def test_a_batch_that_does_not_divide_among_the_ranks_is_named(place):
    line = run_fails(place, "--ranks", "3")
    assert line.startswith("ssld run: --ranks 3: stages.plain.data.batch 4 does not divide into 3 parts")


def test_the_folder_of_another_recipe_or_of_something_else_is_left_alone(place):
    (place / "out").mkdir()
    (place / "out" / "plan.yaml").write_text("# digest: 0123456789abcdef\nname: other\n")
    (place / "out" / "stages" / "teach-01234567" / "checkpoint-00000001").mkdir(parents=True)
    line = run_fails(place)
    different = '(name is "other" there and "some" here)'
    assert line == f"ssld run: out: holds the run of another recipe {different}; choose another --out"
    assert sorted(path.name for path in (place / "out").iterdir()) == ["plan.yaml", "stages"]
    (place / "out" / "plan.yaml").rename(place / "out" / "thesis.tex")
    assert run_fails(place) == "ssld run: out: is not empty and holds no run; choose another --out"
    shutil.rmtree(place / "out")
    (place / "out").write_text("a file")
    assert "out" in run_fails(place)
    assert (place / "out").read_text() == "a file"


def test_the_folder_of_a_run_that_never_began_is_taken_over_by_a_mended_recipe(place):
    (place / "out").mkdir()
    (place / "out" / "plan.yaml").write_text("# digest: 0123456789abcdef\nname: other\n")
    assert "no such data folder" in run_fails(place, SSLD_DATA="nowhere")
    assert "0123456789abcdef" not in (place / "out" / "plan.yaml").read_text()


def test_a_kill_while_the_folder_was_made_does_not_lock_it(place):
    (place / "out").mkdir()
    (place / "out" / "plan.yaml.partial-4194304").write_text("# dig")
    assert "no such data folder" in run_fails(place, SSLD_DATA="nowhere")
    assert (place / "out" / "plan.yaml").is_file()


# --- a full disk


def has_tmpfs():
    """Whether a small file system can be mounted here, as root or in a name space of its own."""
    probe = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return shutil.which("unshare") and subprocess.run(probe, capture_output=True, check=False).returncode == 0


FILLS = "(while [ ! -s out/metrics.jsonl ]; do sleep 0.02; done; head -c 100m /dev/zero > out/filler) 2> /dev/null &"


@pytest.mark.skipif(not has_tmpfs(), reason="no unprivileged mount here")
@pytest.mark.parametrize(
    ("size", "meanwhile", "said"),
    [
        ("7m", "", "out: 7 MB free, and checkpoints and results take 11 MB; free some space, or choose another --out"),
        ("64m", FILLS, "out/.*: the disk is full; free some space; .*repeat the command"),
    ],
    ids=["by an estimate", "while it trains"],
)
def test_a_full_disk_is_one_line(size, meanwhile, said, place):
    (place / "out").mkdir()
    script = f'mount -t tmpfs -o size={size} tmpfs out && {{ {meanwhile} exec "$0" "$@"; }}'
    words = command("run", "some.yaml", "--wandb", "disabled", "--out", "out", "stages.plain.epochs=400")
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script, *words],
        cwd=place, env=surroundings(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert re.match(f"ssld run: {said}", last), last


def test_records_that_cannot_be_written_stop_the_run_and_the_same_command_resumes(place):
    assert "no such data folder" in run_fails(place, SSLD_DATA="nowhere")  # makes the folder and its plan.yaml
    words = ["run", "some.yaml", "--wandb", "disabled", "--out", "out"]
    metrics = place / "out" / "metrics.jsonl"
    metrics.symlink_to("/dev/full")
    line = fails(*words, cwd=place, begun=True)
    assert line.startswith("ssld run: out/metrics.jsonl: the disk is full; free some space; repeat the command, it")
    metrics.unlink()
    succeeds(*words, cwd=place)
    assert (place / "out" / "report.html").is_file()


def test_a_failed_run_leaves_no_file_outside_its_folder(place):
    before = {path for path in place.rglob("*")}
    run_fails(place, "--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert {path for path in place.rglob("*")} - before <= {place / "out", place / "out" / "plan.yaml"}
    assert isinstance(place, Path)
