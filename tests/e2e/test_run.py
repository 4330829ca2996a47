"""A whole run, from its recipe to its report, and what a second command does with it."""

import csv
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ssld import weights
from ssld.data import fake
from ssld.report.summary import summary
from tests.e2e.command import fails, process, ssld, succeeds, write_recipe
from tests.unit.wandb_file import kinds, plain

TREE = {
    "title": "A tiny run",
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "teacher": {"arch": "MobileNetV3_small_x0_5", "stage": "teach"},
    "baseline": "baseline",
    "stage": {
        "data": {
            "train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 16, "batch": 8, "eval_batch": 8, "threads": 1
        },
        "optim": {"lr": 0.05},
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "loss": {"ce": {}}},
        "baseline": {"epochs": 1, "loss": {"ce": {}}},
        "distill": {
            "epochs": 1, "loss": {"ssld": {}}, "data": {"train": ["d/train_labelled.txt", "d/train_unlabelled.txt"]}
        },
        "finetune": {"init": "distill", "epochs": 1, "loss": {"ssld": {}, "ce": {}}},
        "fix": {"init": "finetune", "train": "head", "epochs": 1, "loss": {"ssld": {}}, "data": {"size": 24}},
    },
    "export": {"gate_images": 8},
    "bench": {"repeats": 2, "warmup": 1},
}  # fmt: skip
STAGES = list(TREE["stages"])
PLAIN = (
    "export.formats=[paddle]",
    "bench.engines=[paddle]",
    "--wandb",
    "disabled",
)  # of runs that ask for stages alone


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with a recipe, its images and the finished run `runs/a`."""
    place = tmp_path_factory.mktemp("place")
    fake(place / "data" / "d", 4, train=16, val=12, unlabelled=8, test=20, size=20)
    write_recipe(place, TREE)
    done = process("run", "some.yaml", "--out", "runs/a", cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "stdout").write_text(done.stdout)
    (place / "stderr").write_text(done.stderr)
    return place


@pytest.fixture(scope="module")
def result(place):
    tree = json.loads((place / "runs/a/result.json").read_text())
    del tree["checksum"]  # of the file
    return tree


def state(folder, stage):
    (file,) = folder.glob(f"stages/{stage}-*/model.safetensors")
    return weights.load(file)


def test_a_run_leaves_everything_behind(place):
    run = place / "runs/a"
    assert {path.name for path in run.iterdir()} == {
        *("plan.yaml", "metrics.jsonl", "result.json", "bench.csv", "report.html", "samples.npz"),
        *("stages", "export", "teacher_export", "wandb"),
    }
    assert [path.name.partition("-")[0] for path in sorted(run.glob("stages/*"))] == sorted(STAGES)
    assert {path.name for path in run.glob("export/*")} == {
        "contract.json", "model.json", "model.pdiparams", "model.onnx"
    }  # fmt: skip
    for stage in run.glob("stages/*"):
        assert {path.name.partition("-")[0] for path in stage.iterdir()} == {
            "stage.json", "made_of.json", "model.safetensors", "model.facts.json", "checkpoint"
        }  # fmt: skip
    assert {path.name for path in (place / "data").iterdir()} == {"d"}


def test_the_result_holds_the_numbers_of_every_stage(result, place):
    assert list(result["stages"]) == STAGES
    assert result["teacher"]["top1"] == result["stages"]["teach"]["top1"]
    assert result["baseline"]["top1"] == result["stages"]["baseline"]["top1"]
    assert result["top1"] == result["stages"]["fix"]["top1"]
    assert result["gain"] == result["top1"] - result["baseline"]["top1"]
    assert (result["seed"], result["images"], result["student"]["size"]) == (
        0, {"val": 12, "imagenet": False}, 24
    )  # fmt: skip
    assert result["wall_seconds"] > sum(stage["seconds"] for stage in result["stages"].values()) > 0
    assert {"ssld", "paddlepaddle", "numpy"} <= result["versions"].keys()
    assert result["nll"] == pytest.approx(result["stages"]["fix"]["loss"])
    assert result["teacher"]["nll"] == pytest.approx(result["stages"]["teach"]["loss"])
    assert sum(result["reliability"]["images"]) == sum(result["per_class"]["images"]) == 12
    assert 0 <= result["ece"] <= 100
    assert result["agreement"]["top5"] == 100  # of four classes
    plan = json.loads(succeeds("show", "some.yaml", "--json", cwd=place))
    assert result["digest"] == plan["digest"]
    assert {gate["agree"] for gate in result["export"].values()} == {100.0}


def test_the_run_ends_with_one_table(place, result):
    lines = (place / "stdout").read_text().splitlines()
    assert lines[0] == "A tiny run"
    assert lines[-1] == "report: runs/a/report.html"
    rows = {line.split()[0]: line for line in lines[1:5]}
    assert {"network", "teacher", "baseline", "distilled"} == rows.keys()
    for word in ("top-1", "gain", "size", "latency", "speed-up"):
        assert word in rows["network"]
    assert f"{result['top1']:.2f} %" in rows["distilled"]
    assert f"{result['gain']:+.2f}" in rows["distilled"]
    assert re.search(r"[\d.]+ MB +[\d.]+ ms +[\d.]+ x$", rows["distilled"])


def test_every_stage_shows_its_progress(place):
    shown = (place / "stderr").read_text()
    for stage in STAGES:
        assert re.search(rf"^{stage} .*100 %.*img/s.*loss [\d.]+.*top-1 [\d.]+ %", shown, flags=re.MULTILINE), stage


def test_the_metrics_hold_every_step_of_every_stage(place, result):
    records = [json.loads(line) for line in (place / "runs/a/metrics.jsonl").read_text().splitlines()]
    for name in STAGES:
        steps = [record["step"] for record in records if (record["stage"], record["kind"]) == (name, "train")]
        assert steps == list(range(1, result["stages"][name]["steps"] + 1))
        scores = [record for record in records if (record["stage"], record["kind"]) == (name, "eval")]
        assert scores[-1]["top1"] == result["stages"][name]["top1"]
    assert {"loss", "loss/ssld", "loss/ce"} < set().union(*(r for r in records if r["stage"] == "finetune"))


def test_teacher_and_student_are_measured_in_every_engine(place, result):
    with (place / "runs/a/bench.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["network"], row["engine"]) for row in rows} == {
        (network, engine) for network in ("student", "teacher") for engine in ("paddle", "onednn", "onnxruntime")
    }
    assert [float(row["p50_ms"]) for row in rows] == [row["p50_ms"] for row in result["bench"]]


def test_the_exported_files_say_what_the_last_stage_says(place):
    import paddle

    from ssld import models
    from ssld.deploy import ready

    run, images = place / "runs/a", np.random.default_rng(0).standard_normal((3, 3, 24, 24), np.float32)
    network = models.create("MobileNetV3_small_x0_35", num_classes=4, in_size=24)
    weights.load_into(network, next(run.glob("stages/fix-*/model.safetensors")))
    network.eval()
    with paddle.no_grad():
        wanted = network(paddle.to_tensor(images)).numpy()
    for engine in ("paddle", "onnxruntime"):
        np.testing.assert_allclose(ready(engine).load(run / "export")(images), wanted, atol=1e-5)


def test_the_fix_stage_of_the_head_changes_the_head_alone(place):
    before, after = (state(place / "runs/a", stage) for stage in ("finetune", "fix"))
    assert {key for key in before if (before[key] != after[key]).any()} == {"head.fc.weight", "head.fc.bias"}


def test_the_report_is_one_file_with_its_figures(place, result):
    page = (place / "runs/a/report.html").read_text()
    assert result["digest"] in page
    assert page.count("<svg") >= 2 + len(STAGES)
    for title in (
        "Validation accuracy",
        "Accuracy against latency",
        "Agreement with the teacher",
        "Sample predictions",
    ):
        assert title in page
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)


def test_wandb_offline_holds_what_the_run_logged(place, result):
    run = place / "runs/a"
    (opened,) = kinds(run, "run")
    config = plain(opened.config.update)
    assert config["student.arch"] == TREE["student"]["arch"]
    history = [plain(record.item) for record in kinds(run, "history")]
    seen = [row["fix/eval/top1"] for row in history if "fix/eval/top1" in row]
    assert seen[-1] == result["top1"]
    summary = {}
    for record in kinds(run, "summary"):
        summary |= plain(record.update)
    assert (summary["top1"], summary["gain"]) == (result["top1"], result["gain"])
    assert summary["teacher_top1"] == result["teacher"]["top1"]
    models = {record.name: record for record in kinds(run, "artifact") if record.type == "model"}
    arch = TREE["student"]["arch"]
    assert list(models) == [f"some-teacher-{TREE['teacher']['arch']}", f"some-student-{arch}", f"some-{arch}"]
    files = {entry.path for entry in models[f"some-{arch}"].manifest.contents}
    assert files == {path.name for path in run.glob("export/*")}
    assert list(run.glob("wandb/offline-run-*/files/media/table/samples*.json"))


def test_the_same_command_again_repeats_nothing_and_prints_the_same(place, result):
    def files():
        return {path: path.stat().st_mtime_ns for path in (place / "runs/a").rglob("*") if path.is_file()}

    before = files()
    done = ssld("run", "some.yaml", "--out", "runs/a", "--json", cwd=place)
    assert (done.returncode, json.loads(done.stdout)) == (0, result)
    assert "already finished" in done.stderr
    assert files() == before


def test_a_finished_run_can_be_evaluated_exported_measured_and_reported_again(place, result):
    found = json.loads(succeeds("eval", "runs/a", "--json", cwd=place))
    assert (found["top1"], found["images"]) == (pytest.approx(result["top1"]), 12)
    for key in ("nll", "ece", "per_class", "worst", "agreement"):
        assert found[key] == result[key]
    other = json.loads(succeeds("eval", "runs/a", "--data", "data/d/train_labelled.txt", "--json", cwd=place))
    assert other["images"] == 16
    gate = json.loads(
        succeeds("export", "runs/a", "--format", "onnx", "--opset", "13", "--out", "x", "--json", cwd=place)
    )
    assert (list(gate), gate["onnx"]["agree"]) == (["onnx"], 100.0)
    assert json.loads((place / "x/contract.json").read_text())["opset"] == 13
    words = ["bench", "runs/a", "x", "--engine", "onnxruntime", "--span", "model", "--quick", "--json"]
    rows = json.loads(succeeds(*words, cwd=place))["rows"]
    assert [(row["network"], row["size"]) for row in rows] == [("a", 24), ("x", 24)]
    (place / "runs/a/report.html").unlink()
    told = json.loads(succeeds("report", "runs/a", "--json", cwd=place))
    assert told == {"report": "runs/a/report.html"}
    assert result["digest"] in (place / "runs/a/report.html").read_text()


def test_a_run_is_exported_with_its_ends_inside_and_in_int8(place, result):
    words = ["export", "runs/a", "--format", "onnx", "int8", "--with-preprocess", "--out", "whole", "--json"]
    gate = json.loads(succeeds(*words, "--gate", "top1_int8=100", "images_lossy=8", cwd=place))
    assert (list(gate), gate["onnx"]["agree"]) == (["onnx", "int8"], 100.0)
    contract = json.loads((place / "whole/contract.json").read_text())
    assert (contract["input"]["dtype"], contract["output"]["name"]) == ("uint8", "probabilities")
    assert contract["accuracy"] == {
        "top1": result["top1"], "top5": result["top5"], "images": 12, "source": "measured"
    }  # fmt: skip
    assert contract["gate"]["images"] == 8
    told = fails("export", "runs/a", "--gate", "top=1", "--out", "y", cwd=place)
    assert told == "ssld export: override export.gate_top: no key 'gate_top'; did you mean 'gate_top1'?"
    told = fails("export", "runs/a", "--out", "some.yaml/x", cwd=place, begun=True)
    assert told == "ssld export: some.yaml/x: cannot be written (Not a directory); choose another folder"
    told = fails("export", "runs/a", "--opset", "22", "--out", "y", cwd=place, code=2)
    assert told == "ssld: argument --opset: should be an integer from 9 to 21; got 22"


def test_a_model_is_exported_with_the_weights_of_a_file_and_never_without(place):
    (file,) = (place / "runs/a").glob("stages/fix-*/model.safetensors")
    words = ["export", "MobileNetV3_small_x0_35", "--weights", file, "--data", "data/d/val.txt", "--format", "onnx"]
    gate = json.loads(succeeds(*words, "--no-dynamic-batch", "--json", cwd=place))
    assert gate["onnx"]["agree"] == 100.0
    contract = json.loads((place / "exports/MobileNetV3_small_x0_35/contract.json").read_text())
    assert (contract["classes"], contract["input"]["size"], contract["output"]["shape"]) == (4, 24, [1, 4])
    assert contract["accuracy"] is None  # the card's is of the thousand classes
    (place / "other.txt").write_text((place / "data/d/val.txt").read_text().replace(" 3", " 7"))
    told = fails(*words[:4], "--data", "other.txt", cwd=place, begun=True)
    assert "label 7" in told
    told = fails(*words[:2], cwd=place)
    assert "MobileNetV3_small_x0_35: a model has no weights of its own; give --weights FILE" in told


def test_a_changed_last_stage_takes_over_the_others(place):
    done = ssld("run", "some.yaml", "stages.fix.optim.lr=0.01", *PLAIN, "--out", "runs/b", cwd=place)
    assert done.returncode == 0, done.stderr
    for stage in STAGES[:-1]:
        assert f"{stage}: taken over from a" in done.stderr
    assert "fix: taken" not in done.stderr
    for stage in STAGES:
        one, other = (state(place / "runs" / run, stage) for run in "ab")
        same = all((one[key] == other[key]).all() for key in one)
        assert same == (stage != "fix")


def test_a_student_is_tested_once_after_the_training_and_nothing_else_changes(place, result):
    words = ["run", "some.yaml", "stages.fix.data.test=d/test.txt", *PLAIN, "--out", "runs/tested"]
    done = ssld(*words, cwd=place)
    assert done.returncode == 0, done.stderr
    for stage in STAGES:  # the test comes after them, so that they are those of a run without one
        assert f"{stage}: taken over from a" in done.stderr
    tested = json.loads((place / "runs/tested/result.json").read_text())
    assert tested["top1"] == result["top1"]
    assert tested["gain"] == result["gain"]
    by_hand = json.loads(succeeds("eval", "runs/tested", "--data", "data/d/test.txt", "--json", cwd=place))
    assert (by_hand["top1"], by_hand["images"]) == (pytest.approx(tested["test_top1"]), 20)
    assert tested["test"]["images"] == 20
    assert tested["test_gain"] == tested["test_top1"] - tested["baseline"]["test_top1"]
    heading, *rows = done.stdout.splitlines()[1:5]
    assert heading.split()[-1] == "test"
    tops = [tested["teacher"]["test_top1"], tested["baseline"]["test_top1"], tested["test_top1"]]
    assert [row.split()[-2:] for row in rows] == [[f"{top1:.2f}", "%"] for top1 in tops]
    assert "20 images, shown once after the training" in (place / "runs/tested/report.html").read_text()
    assert summary(tested)["test_top1"] == tested["test_top1"]
    assert "test_top1" not in summary(result)
    listed = place / "data/d/test.txt"
    whole = listed.read_text()
    listed.write_text("".join(whole.splitlines(keepends=True)[:8]))
    again = ssld(*words, cwd=place)
    listed.write_text(whole)
    assert "test.txt: has changed since the test; what follows the training is made anew" in again.stderr
    assert json.loads((place / "runs/tested/result.json").read_text())["test"]["images"] == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.fix.data.test=d/val.txt", "d/val.txt: 12 of its 12 images are in d/val.txt of stage teach too"),
        ("stages.fix.data.test=d/train_unlabelled.txt", "has no label; every test image needs one"),
        ("stages.fix.data.test=d/none.txt", "d/none.txt: no such list file"),
        (
            "stages.teach.data.test=d/test.txt",
            "stages.teach.data.test: test images are shown once, after the last stage",
        ),
    ],
    ids=["shared", "unlabelled", "missing", "not the last stage"],
)
def test_images_that_cannot_be_a_test_are_told_before_the_first_step(place, override, message):
    told = fails("run", "some.yaml", override, "--out", "runs/refused", cwd=place, begun=True)
    assert message in told
    assert not list((place / "runs").glob("refused/stages/*/checkpoint*"))


def test_the_smallest_recipe_of_the_documentation_ends_without_a_gain_and_says_why(tmp_path):
    """Its student's card has a published top-1, which is of ImageNet."""
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    (tmp_path / "smallest.yaml").write_text(re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    succeeds("data", "prepare", "digits", cwd=tmp_path)
    small = ("plain.epochs=0.3", "plain.data.size=16", "plain.data.batch=64")
    words = [*(f"stages.{word}" for word in small), "bench={repeats: 2, warmup: 1, engines: [paddle]}"]
    done = ssld("run", "smallest.yaml", *words, "export.formats=[paddle]", "--out", "runs/a", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "runs/a/result.json").read_text())
    assert (result["baseline"], result["gain"], result["student"]["training"]) == (None, None, "trained")
    reason = "the recipe names none, and the card's published number is of ImageNet's 1,000 classes, not of these 10"
    assert result["baseline_missing"] == reason
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["network", "trained"]
    assert lines[3] == f"no baseline: {reason}"
    text = (tmp_path / "runs/a/report.html").read_text()
    assert f"No baseline: {html.escape(reason)}." in text
    assert not re.search(">(gain|distilled)<", text)
    summary = {}
    for record in kinds(tmp_path / "runs/a", "summary"):
        summary |= plain(record.update)
    assert (summary["gain"], summary["baseline_missing"]) == (None, reason)
    failed = fails("compare", "runs/a", "runs/a", "--metric", "gain", cwd=tmp_path)
    assert "no number 'gain' of seed 0" in failed


@pytest.mark.slow
def test_the_recipe_of_a_published_name_is_reproduced_into_the_ledger(tmp_path):
    words = ["reproduce", "MobileNetV3_large_x1_0_ssld", "--train", "--smoke", "--wandb", "disabled"]
    told = json.loads(succeeds(*words, "bench.repeats=1", "--json", cwd=tmp_path))
    assert (told["report"], told["ledger"]) == (
        "runs/smoke/mobilenet_v3_large_x1_0_ssld.md", "runs/smoke/REPORT.md"
    )  # fmt: skip
    (run,) = told["runs"]
    result = json.loads((tmp_path / run / "result.json").read_text())
    row = f"`recipes/mobilenet_v3_large_x1_0_ssld.yaml` | 32 | 78.96 | {result['top1']:.2f} | - | smoke | 0 |"
    assert row in (tmp_path / told["ledger"]).read_text()
    assert not (tmp_path / "experiments").exists()


CACHED = ("teacher.norm=running", "stages.distill.labels={views: 1, k: 2}")


def test_labels_are_made_once_compared_with_the_teacher_mended_and_shared_by_two_seeds(place):
    """The teacher is taken over from the run beside it; a second seed of the views' students finds the labels."""
    words = ("label", "some.yaml", *CACHED, *PLAIN[:2], "--out", "runs/l", "--json")
    (row,) = json.loads(succeeds(*words, cwd=place))
    assert (row["stage"], row["views"], row["labels"], row["bytes a label"]) == ("distill", 1, 24, 7)
    (file,) = (place / row["folder"]).glob("view-000/*.labels")
    made = file.read_bytes()
    file.write_bytes(made[:-1] + bytes([made[-1] ^ 1]))
    done = ssld(*words, "--verify", cwd=place)
    assert done.returncode == 0, done.stderr
    assert f"{row['folder']}/view-000/shard-00000.labels: 1 of 1 blocks are damaged; they are made anew" in done.stderr
    assert json.loads(done.stdout)[0]["max |diff| of softmax"] < 1e-3
    assert file.read_bytes() == made
    trained = ssld("run", "some.yaml", *CACHED, *PLAIN, "--out", "runs/l", cwd=place)
    assert trained.returncode == 0, trained.stderr
    assert "labels:" not in trained.stderr  # nothing was missing
    (about,) = (place / "runs/l/stages").glob("distill-*/stage.json")
    assert json.loads(about.read_text())["teacher_engine"] == "cache"


def test_a_recipe_without_a_cache_and_one_whose_teacher_is_not_trained_are_one_line(place, tmp_path):
    assert fails("label", "some.yaml", "--out", "runs/m", cwd=place) == (
        "ssld label: some: no stage asks for a label cache; add stages.<name>.labels (docs/labels.md)"
    )
    line = fails("label", "some.yaml", *CACHED, "--out", str(tmp_path / "alone"), cwd=place)
    assert "alone: stage 'teach' trains the teacher and is not done; `ssld run` trains it" in line
