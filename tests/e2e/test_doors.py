"""A recipe of which student, teacher, losses and images are a user's own code, as a user runs it."""

import json
import signal

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from ssld.config import recipe
from ssld.deploy import contract
from ssld.distill.runs import Run
from ssld.result import slice_images
from ssld.runtime import Runtime
from tests.e2e.command import succeeds, write_recipe
from tests.e2e.test_resume import records, run, state, stopped
from tests.unit.digit_teachers import ONNX, taught
from tests.unit.own_recipe import MACS, PARAMS, TREE, write_code


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with the user's files and two seeds of the recipe, recorded in `kept`."""
    place = tmp_path_factory.mktemp("doors")
    write_code(place)
    write_recipe(place, TREE, "own.yaml")
    told = succeeds(*run("seeds", "--seeds", "2", "--experiments", "kept", "--json", recipe="own.yaml"), cwd=place)
    (place / "stdout").write_text(told)
    return place


@pytest.fixture(scope="module")
def first(place):
    """The folder of seed 0."""
    return place / "seeds" / f"own-{recipe.load(place / 'own.yaml').digest[:8]}"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder without the user's files: a run folder keeps what it needs of them."""
    return tmp_path_factory.mktemp("elsewhere")


def test_two_seeds_of_own_code_are_run_and_compared(place, first):
    told = json.loads((place / "stdout").read_text())
    assert told["report"] == "kept/own.md"
    results = [json.loads((place / run / "result.json").read_text()) for run in told["runs"]]
    assert [result["seed"] for result in results] == [0, 1]
    recorded = [json.loads(file.read_text()) for file in sorted(place.glob("kept/results/own/*.json"))]
    assert sorted(recorded, key=lambda result: result["seed"]) == results
    assert len({result["group"] for result in recorded}) == 1
    twin = json.loads((place / "kept/own.json").read_text())
    assert twin["spreads"]["distilled"]["mean"] == pytest.approx(np.mean([result["top1"] for result in results]))
    assert "± " in (place / "kept/own.md").read_text()
    assert len({result["student"]["arch"] for result in recorded}) == 1
    assert state(first, "distill") != state(*(set((place / "seeds").iterdir()) - {first}), "distill")
    said = succeeds("compare", "own", "seeds", "--experiments", "kept", cwd=place)
    assert "mean difference +0.00" in said


def test_parameters_macs_and_content_of_an_own_network_stand_in_the_result_and_its_page(first):
    result = json.loads((first / "result.json").read_text())
    student, teacher = result["student"], result["teacher"]
    assert (student["params"], student["macs"], student["training"]) == (PARAMS, MACS, "distilled")
    assert teacher["arch"].startswith("Large@")
    assert teacher["params"] > PARAMS
    name, _, version = student["arch"].partition("@")
    assert name == "Tiny"
    assert len(version) == 8
    assert result["gain"] is None
    assert "no training of nets.py:Tiny is published" in result["baseline_missing"]
    assert result["top1"] > 60
    page = (first / "report.html").read_text()
    assert student["arch"] in page
    assert f"{PARAMS:,} parameters" in page
    assert [row["engine"] for row in result["bench"]] == ["onnxruntime"] * 2


def test_the_exported_own_network_gives_the_logits_of_the_trained_one(first):
    about = contract.read(first / "export")
    assert about["class_names"] == ["red", "green", "blue", "grey"]
    run_of_folder = Run.of_folder(first, Runtime(rank=0, world=1, gpu=None))
    assert about["arch"] == json.loads((first / "result.json").read_text())["student"]["arch"]
    images, labels = slice_images(run_of_folder.last, 16)
    session = onnxruntime.InferenceSession(first / "export" / "model.onnx")
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    top1 = 100 * float((logits.argmax(1) == labels).mean())
    assert top1 == pytest.approx(run_of_folder.last.record()["top1"])
    assert np.isfinite(logits).all()


def test_a_run_of_own_code_that_is_killed_in_both_stages_ends_with_the_same_weights_bit_for_bit(place, first):
    out = "killed/run"
    for after in (3, 21):
        code, _ = stopped(place, out, signal.SIGKILL, after, recipe="own.yaml")
        assert code == -signal.SIGKILL
    succeeds(*run(out, recipe="own.yaml"), cwd=place)
    for stage in ("teach", "distill"):
        assert state(place / out, stage) == state(first, stage)
    assert records(place / out) == records(first)


def test_a_run_of_own_code_is_evaluated_and_exported_where_the_users_files_are_not(first, elsewhere):
    result = json.loads((first / "result.json").read_text())
    scores = json.loads(succeeds("eval", first, "--json", cwd=elsewhere))
    assert scores["top1"] == result["top1"]
    assert scores["agreement"]["top1"] == result["agreement"]["top1"]
    assert scores["data"] == "images.py:Val"
    written = json.loads(succeeds("export", first, "--out", "again", "--format", "onnx", "--json", cwd=elsewhere))
    assert written["onnx"]["top1"] == written["onnx"]["top1_model"]
    assert (elsewhere / "again/model.onnx").is_file()


def test_a_smoke_run_of_own_code_tries_it_on_fake_images(place):
    result = json.loads(succeeds(*run("smoke", "--smoke", "--json", recipe="own.yaml"), cwd=place))
    assert (result["scope"], result["student"]["params"]) == ("smoke", PARAMS)
    assert [stage["steps"] for stage in result["stages"].values()] == [2, 2]


def test_show_prints_what_an_own_recipe_says_and_plan_counts_its_network_that_has_no_card(place):
    tree = json.loads(succeeds("show", "own.yaml", "--json", cwd=place))
    for_all = {"side": None, "min_teacher": None, "student_view": None, "teacher_view": None}
    assert tree["stages"]["distill"]["loss"]["gap"] == {"kind": "gap", "weight": 1.0, "share": 0.5, **for_all}
    assert sorted(tree["code"]) == ["images.py", "losses.py", "nets.py"]
    planned = json.loads(succeeds("plan", "own.yaml", "--rate", "100", "--json", cwd=place))
    assert planned["storage"]["exports"] == 4 * PARAMS * len(tree["export"]["formats"])
    assert all(part["macs_per_image"] > 0 for part in planned["parts"])


def test_two_processes_with_a_teacher_in_onnx_runtime_train_what_one_process_trains(place):
    tree = taught(ONNX, {"kl": {}, "ce": {}}) | {"student": {"code": "nets.py:Plain"}}
    write_recipe(place, tree, "onnx.yaml")
    succeeds(*run("one/run", recipe="onnx.yaml"), cwd=place)
    succeeds(*run("two/run", "--ranks", "2", recipe="onnx.yaml"), cwd=place)
    weights = [load_file(*(place / out).glob("stages/one-*/model.safetensors")) for out in ("one/run", "two/run")]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        np.testing.assert_allclose(weights[1][key], value, rtol=0, atol=1e-5, err_msg=key)
    results = [json.loads((place / out / "result.json").read_text()) for out in ("one/run", "two/run")]
    assert [result["stages"]["one"]["ranks"] for result in results] == [1, 2]
    assert results[0]["teacher"]["top1"] == results[1]["teacher"]["top1"] > 85
