"""A recipe whose last stages are in int8, from the command to the exported file and the page."""

import json
import re
import shutil

import numpy as np
import pytest

from ssld import weights
from ssld.data import fake
from ssld.deploy.machine import SATURATES, sums_8_bits_exactly
from tests.e2e.command import fails, ssld, succeeds, write_recipe

pytest.importorskip("paddleslim", reason="of the extra int8")

TREE = {
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35", "bn_momentum": 0.9},
    "baseline": "float",
    "stage": {
        "data": {
            "train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 16, "batch": 8, "eval_batch": 8, "threads": 1
        },
        "checkpoint_minutes": 0,  # after every step
        "optim": {"lr": 0.001, "clip_norm": 1.0},  # of a network so fresh, on maps so small, gradients are huge
    },
    "stages": {
        "float": {"epochs": 2, "loss": {"ce": {}}},
        "ptq": {"init": "float", "epochs": 0, "loss": {"ssld": {}}, "quantize": {"images": 16, "recalibrate": 0}},
        "qad": {
            "init": "float", "epochs": 1, "loss": {"ssld": {}},
            "quantize": {"images": 16, "recalibrate": 16, "keep": 2},
            "data": {"train": ["d/train_labelled.txt", "d/train_unlabelled.txt"]},
        },
    },
    "export": {"formats": ["int8"], "gate_images_lossy": 8, "gate_top1_int8": 100, "gate_diff_int8": 5},
    "bench": {"engines": ["openvino"], "precisions": ["int8", "fp32"], "repeats": 2, "warmup": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    fake(place / "data" / "d", 4, train=16, val=12, unlabelled=8, size=20)
    write_recipe(place, TREE)
    succeeds("run", "some.yaml", "--out", "runs/a", "--wandb", "disabled", cwd=place)
    return place


def test_a_run_trains_in_int8_and_leaves_in_int8(place):
    run = place / "runs/a"
    result = json.loads((run / "result.json").read_text())
    assert list(result["export"]) == ["int8"]
    assert result["stages"]["ptq"]["steps"] == 0
    assert result["stages"]["qad"]["steps"] == 3
    noted = result["stages"]["qad"]["int8"]
    assert len(noted["kept_float"]) == 2
    by_effect = sorted(noted["sensitivity"], key=lambda name: -noted["sensitivity"][name])
    assert (noted["kept_float"], set(noted["sensitivity"])) == (by_effect[:2], set(noted["layers"]))
    assert result["stages"]["ptq"]["int8"]["sensitivity"] == {}
    assert {(row["network"], row["precision"]) for row in result["bench"]} == {("student", "int8"), ("float", "fp32")}
    page = (run / "report.html").read_text()
    remarks = [] if sums_8_bits_exactly() else [SATURATES]
    assert result.get("remarks", []) == remarks
    assert all(remark[1:] in page for remark in remarks)
    assert "53 of 55 layers are in int8" in page
    assert "55 of 55 layers are in int8" in page


def test_a_stopped_stage_in_int8_ends_where_an_uninterrupted_one_does(place):
    run = place / "elsewhere/a"  # with no finished run beside it
    shutil.copytree(place / "runs/a", run)
    (folder,) = run.glob("stages/qad-*")
    whole = weights.load(folder / "model.safetensors")
    for file in (folder / "model.safetensors", folder / "stage.json", run / "report.html", run / "result.json"):
        file.unlink()
    shutil.rmtree(max(folder.glob("checkpoint-*")))
    done = ssld("run", "some.yaml", "--out", run, "--wandb", "disabled", cwd=place)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^qad: .*of them done before", done.stderr, flags=re.MULTILINE)
    assert "sensitivity" not in done.stderr  # the layers were chosen before
    again = weights.load(folder / "model.safetensors")
    assert again.keys() == whole.keys()
    assert all(np.array_equal(again[key], whole[key]) for key in whole)


def test_the_student_is_evaluated_in_int8_and_leaves_in_no_float_format(place):
    found = json.loads(succeeds("eval", "runs/a", "--json", cwd=place))
    assert found["top1"] == json.loads((place / "runs/a/result.json").read_text())["top1"]
    line = fails("export", "runs/a", "--format", "onnx", "--out", "x", cwd=place, begun=True)
    assert line.endswith("choose int8, paddle2_int8, or tensorrt with --precision int8")
    assert not (place / "x").exists()


def test_no_layer_is_left_for_int8(place):
    line = fails("run", "some.yaml", "--out", "runs/b", "stages.qad.quantize.keep=55", cwd=place, begun=True)
    assert line.endswith("stage qad: quantize.keep: 55 of 55 layers; leave some for int8")


def test_the_file_holds_what_was_trained(place):
    import onnxruntime

    run = place / "runs/a"
    session = onnxruntime.InferenceSession(run / "export/model.int8.onnx", providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    said = session.run(None, {entry.name: np.zeros((2, 3, 16, 16), "float32")})[0]
    assert said.shape == (2, 4)
    assert np.isfinite(said).all()
