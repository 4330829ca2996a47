"""These tests ask the registry of engines, which says fast and in words what can run here."""

import subprocess
import sys
from pathlib import Path

import pytest

from ssld.deploy import ENGINES, ready, usable
from ssld.deploy.contract import FORMATS
from ssld.errors import DeployError, RecipeError, SsldError
from ssld.spec import formats

ROOT = Path(__file__).parents[2]


def test_the_engines_are_the_files_of_the_folder_and_each_has_a_summary():
    assert {"onednn", "onnxruntime", "openvino", "paddle", "tensorrt"} < set(ENGINES.names())
    assert all(ENGINES.summary(name) for name in ENGINES.names())
    for name in ENGINES.names():
        engine = ENGINES.build(name)
        assert (engine.threads, engine.precision) == (1, "fp32")
        assert engine.device in ("cpu", "gpu")
        assert set(engine.reads.values()) <= FORMATS.keys()


def test_every_format_is_checked_by_an_engine_that_reads_it():
    assert FORMATS.keys() == set(formats.FORMATS)  # every name has a row, and every row a name
    for name, form in FORMATS.items():
        assert ENGINES.get(form.engine).reads[form.precision] == name


@pytest.mark.parametrize("name", ["paddle", "onednn", "openvino", "paddlelite"])
def test_a_precision_that_an_engine_lacks_is_refused_with_those_that_it_has(name):
    has = ", ".join(ENGINES.get(name).reads)
    with pytest.raises(DeployError, match=f"^engine '{name}': has no precision 'fp16'; choose from {has}$"):
        ready(name, precision="fp16")


def test_what_is_usable_is_known_without_importing_an_engine():
    code = (
        "import sys; from ssld.deploy import ENGINES, usable; assert set(usable()) == set(ENGINES.names()); "
        "assert not {'paddle', 'onnxruntime', 'onnx', 'openvino'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_an_engine_whose_package_is_missing_says_what_to_install(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    for name in ("onnxruntime", "openvino", "onnx"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in ("onnxruntime", "openvino"):
        assert "pip install 'ssld[engines]'" in str(usable()[name])
        with pytest.raises(DeployError, match=rf"^engine '{name}': {name} is not installed"):
            ready(name)


def test_onednn_is_for_x86(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "oneDNN on x86 only, this is aarch64" in str(usable()["onednn"])


def test_an_unknown_engine_suggests_the_nearest():
    with pytest.raises(SsldError, match="no engine named 'onnxruntme'; did you mean 'onnxruntime'"):
        ready("onnxruntme")


def test_an_engine_needs_a_thread():
    with pytest.raises(RecipeError, match="engine 'paddle': threads: should be an integer from 1 to 1,024; got 0"):
        ready("paddle", threads=0)


@pytest.mark.parametrize("name", ["paddle", "onednn", "onnxruntime", "openvino"])
def test_a_missing_file_and_a_file_that_is_no_model_are_one_line(tmp_path, name):
    with pytest.raises(DeployError, match="no such file"):
        ready(name).load(tmp_path)
    for file in ("model.json", "model.pdiparams", "model.onnx"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(DeployError, match="cannot load it; ") as caught:
        ready(name).load(tmp_path)
    assert "\n" not in str(caught.value)
