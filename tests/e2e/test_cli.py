"""Commands that answer at once, wrong command lines, and `--json`."""

import hashlib
import json
import subprocess
from importlib.util import find_spec

import pytest

from ssld import __version__
from tests.e2e.command import command, fails, process, ssld, succeeds, surroundings

LISTS = ("models", "teachers", "students", "losses", "methods", "recipes", "engines")


@pytest.mark.parametrize("what", LISTS)
def test_a_list_is_a_table_with_a_row_for_each_entry_of_its_json(what, tmp_path):
    rows = json.loads(succeeds("list", what, "--json", cwd=tmp_path))
    table = succeeds("list", what, cwd=tmp_path).splitlines()
    assert len(table) == len(rows) + 1 > 3
    for line, row in zip(table[1:], rows, strict=True):
        assert line.startswith(row["name"])


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("quickstart", {"name", "digest", "stages", "student", "teacher"}),
        ("ResNet50_vd", {"arch", "params", "macs", "published", "as a teacher"}),
        ("ResNet50_vd_ssld", {"arch", "published", "as a teacher"}),
        ("ResNeXt101_32x16d_wsl", {"arch", "as a teacher"}),
        ("kl", {"method", "kind", "summary", "options", "paper", "use", "traps"}),
        ("onnxruntime", {"engine", "summary", "options"}),
    ],
)
def test_what_is_shown_is_also_json(name, keys, tmp_path):
    assert keys <= json.loads(succeeds("show", name, "--json", cwd=tmp_path)).keys()
    assert succeeds("show", name, cwd=tmp_path).count("\n") > 2


def test_the_list_of_models_states_its_convention_and_fits_a_terminal(tmp_path):
    lines = succeeds("list", "models", cwd=tmp_path).splitlines()
    assert len(lines) == 1 + 131 + 16  # the published trainings, and the networks for images of 32 pixels
    assert {len(line) for line in lines} == {len(lines[0])}  # the last column ends in one line: numbers to the right
    assert len(lines[0]) <= 110
    assert lines[0].split("  ")[0] == "name"
    assert "FLOPs (2 x MACs)" in lines[0]
    assert lines[1].split() == ["ResNet18", "resnet", "11,693,736", "3,653,836,800", "224", "70.98"]
    rows = json.loads(succeeds("list", "models", "--json", cwd=tmp_path))
    fixed = next(row for row in rows if row["name"] == "Fix_ResNet50_vd_ssld_v2")
    assert (fixed["params"], fixed["FLOPs (2 x MACs)"], fixed["input"]) == (25_576_264, 2 * 8_832_204_800, 320)


def test_show_of_a_training_has_its_own_claim_and_of_an_architecture_all(tmp_path):
    every, one = (
        json.loads(succeeds("show", name, "--json", cwd=tmp_path))
        for name in ("MobileNetV3_large_x1_0", "MobileNetV3_large_x1_0_ssld_int8")
    )
    assert set(every["published"]) == {"plain", "ssld", "int8"}
    assert every["printed"]["latency_ms"]["t4_fp16"] == [2.20149, 3.08423, 4.07779]
    assert set(one["published"]) == {"int8"}
    assert one["published"]["int8"]["printed"]["latency_ms"] == {"sd855": 14.395}
    text = succeeds("show", "MobileNetV3_large_x1_0_ssld_int8", cwd=tmp_path)
    assert "Three pages, three numbers" in text
    assert "null" not in text


def test_show_fills_in_base_overrides_and_defaults(tmp_path):
    plan = json.loads(succeeds("show", "resnet50_vd_ssld", "stages.distill.epochs=90", "--json", cwd=tmp_path))
    assert plan["stages"]["distill"]["epochs"] == 90
    assert plan["stages"]["distill"]["optim"]["momentum"] == 0.9  # from the base
    assert plan["bench"]["repeats"] > 0  # a default
    smoke = json.loads(succeeds("show", "resnet50_vd_ssld", "--smoke", "--json", cwd=tmp_path))
    assert (smoke["scope"], smoke["digest"] != plan["digest"]) == ("smoke", True)


def test_a_process_ends_with_the_code_and_the_words_of_its_command(tmp_path):
    """The other tests here ask in their own process."""
    ended = [process(*words, cwd=tmp_path) for words in (["--version"], ["run", "quikstart"], ["rum"])]
    assert [done.returncode for done in ended] == [0, 1, 2]
    assert (ended[0].stdout, ended[0].stderr) == (f"ssld {__version__}\n", "")
    for done, said in zip(ended[1:], ("ssld run: quikstart: no such recipe", "ssld: argument COMMAND: "), strict=True):
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)
        assert done.stderr.startswith(said)


# --- wrong command lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rum"], "invalid choice: 'rum'"),
        ([], "required: COMMAND"),
        (["run"], "required: recipe"),
        (
            ["run", "quickstart", "--devise", "cpu"],
            "run: unknown argument '--devise'; `ssld run --help`",
        ),
        (["list", "models", "seed=1"], "list: unknown argument 'seed=1'"),
        (["export", "ResNet18", "--out", ""], "export: out is empty; give it a value, or leave it out"),
        (["bench", ""], "bench: target is empty"),
        (["run", "quickstart", "--device", "tpu"], "invalid choice: 'tpu'"),
        (["run", "quickstart", "--seeds", "many"], "argument --seeds: should be an integer from 1 to 10,000; got many"),
        (["data", "prepair", "x"], "invalid choice: 'prepair'"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(words, message, tmp_path):
    assert message in fails(*words, cwd=tmp_path, code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "quikstart"], "run: quikstart: no such recipe; did you mean 'quickstart'?"),
        (["run", "quickstart", "stages.distil.epochs=1"], "no key 'distil'; did you mean 'distill'?"),
        (["run", "quickstart", "stages.distill.loss.ssld.wieght=1"], "no key 'wieght'; did you mean 'weight'?"),
        (["run", "quickstart", "student.arch=ResNet19"], "'ResNet19'"),
        (["run", "quickstart", "bench.engines=[tensort]"], "no engine named 'tensort'; did you mean 'tensorrt'"),
        (["run", "quickstart", "export.formats=[onxx]"], "quickstart: export.formats.0: Input should be 'paddle', "),
        (["bench", "ResNet18", "--csv", "no/b.csv"], "bench: no/b.csv: there is no such folder; make it first"),
        pytest.param(
            ["bench", "ResNet18", "--engine", "tensorrt"],
            "bench: engine 'tensorrt': tensorrt is not installed; pip install tensorrt",
            marks=pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is installed"),
        ),
        (["bench", "ResNet18", "--engine", "paddle", "--precision", "int8"], "'paddle': has no precision 'int8'; "),
        (["bench"], "bench: give networks (run folders, exports, model names) or --all-students"),
        (["bench", "ResNet18", "--all-students"], "bench: give networks"),
        (["bench", "ResNet18", "--engine", "onnx"], "bench: no engine named 'onnx'; did you mean 'onednn'?"),
        (["list", "modles"], "list: no list named 'modles'; did you mean 'models'?; one of models, teachers"),
        (["show", "ResNet50_vs"], "show: nothing is named 'ResNet50_vs'; did you mean 'ResNet50_v"),
        (["show", "none.yaml"], "show: none.yaml: no such recipe"),
        (["eval", "nowhere"], "eval: nowhere: no run here (no plan.yaml)"),
        (["export", "nowhere"], "export: nowhere: no run here"),
        (["export", "ResNet18_vd"], "export: ResNet18_vd: a model has no weights of its own; give --weights FILE"),
        (["export", "ResNet18_vdd", "--weights", "x"], "export: no model named 'ResNet18_vdd'; did you mean"),
        (
            ["export", "ResNet18_vd", "--weights", "x"],
            "export: imagenet/val: no list file there; recipes count",
        ),
        (["report", "nowhere"], "report: nowhere"),
        (["bench", "ResNet50_vdd"], "bench: no model named 'ResNet50_vdd'; did you mean 'ResNet50_vd'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_name_or_value_is_one_line_and_exit_code_1(words, message, tmp_path):
    assert message in fails(*words, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_model_file_that_is_none_or_is_another_is_one_line(tmp_path):
    export = tmp_path / "export"
    export.mkdir()
    (export / "contract.json").write_text("no contract")
    bench = ["bench", "export", "--engine", "onnxruntime", "--quick"]
    told = fails(*bench, cwd=tmp_path)
    assert told.startswith("ssld bench: export/contract.json: damaged (no JSON: ")
    (export / "model.onnx").write_text("no model")
    files = {"model.onnx": {"bytes": 8, "sha256": hashlib.sha256(b"no model").hexdigest()}}
    given = {"size": 8, "dynamic": ["batch"]}
    (export / "contract.json").write_text(json.dumps({"input": given, "files": files}))
    told = fails(*bench, cwd=tmp_path)
    assert told.startswith("ssld bench: export/model.onnx: ONNX Runtime cannot load it; ")
    (export / "model.onnx").write_text("another one")
    assert "export/model.onnx: damaged (its sha256 is that of another content); export" in fails(*bench, cwd=tmp_path)


def test_an_unknown_data_set_is_named_with_the_nearest(tmp_path):
    line = fails("data", "prepare", "fashion_mist", cwd=tmp_path, begun=True)
    assert line.startswith("ssld data: data prepare: no kind 'fashion_mist'; did you mean 'fashion_mnist'?; known: ")


def test_debug_shows_the_traceback(tmp_path):
    done = ssld("show", "nothing", "--debug", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RecipeError" in done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    done = subprocess.run(
        ["bash", "-c", '"$0" "$@" | head -n 1', *command("list", "models")],
        cwd=tmp_path, env=surroundings(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_the_list_of_engines_says_of_each_whether_it_can_run_here(tmp_path):
    rows = json.loads(succeeds("list", "engines", "--json", cwd=tmp_path))
    told = {row["name"]: row["usable here"] for row in rows}
    assert told["paddle"] == told["onnxruntime"] == "yes"
    assert all(answer == "yes" or "; " in answer for answer in told.values())


# --- data and bench


def test_digits_are_prepared_once_and_checked(tmp_path):
    first = json.loads(succeeds("data", "prepare", "digits", "--json", cwd=tmp_path))
    assert first["folder"] == "data/digits"
    assert (first["status"], first["classes"], first["lists"]["val.txt"]) == ("prepared", 10, 600)
    again = json.loads(succeeds("data", "prepare", "digits", "--json", cwd=tmp_path))
    assert again == {**first, "status": "already prepared"}
    checked = json.loads(succeeds("data", "check", "data/digits/val.txt", "--classes", "10", "--json", cwd=tmp_path))
    nothing = {"unreadable": 0, "transparent": 0, "flat": 0, "doubles": 0, "shared": None, "clean": None}
    assert checked == {"list": "data/digits/val.txt", "images": 600, "labelled": 600, **nothing}


def test_the_bench_of_a_model_is_a_row_for_each_engine_and_size(tmp_path):
    words = ["bench", "MobileNetV3_small_x0_35", "--image-size", "32", "--quick", "--csv", "b.csv"]
    told = json.loads(succeeds(*words, "--engine", "paddle", "onnxruntime", "--json", cwd=tmp_path))
    network = "MobileNetV3_small_x0_35"
    assert [(row["network"], row["engine"], row["size"], row["span"]) for row in told["rows"]] == [
        (network, engine, 32, span) for span in ("model", "end-to-end") for engine in ("paddle", "onnxruntime")
    ]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in told["rows"])
    assert (tmp_path / "b.csv").read_text().count("\n") == 5
    assert json.loads((tmp_path / "b.json").read_text()) == told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.csv", "b.json"]
