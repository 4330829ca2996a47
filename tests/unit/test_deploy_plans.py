"""These tests write formats for other machines: a TensorRT plan with a stand-in of TensorRT, a file for phones."""

import sys
from pathlib import Path

import paddle
import pytest

from ssld.deploy import How, export_model, release
from ssld.deploy import contract as contracts
from ssld.deploy.engines import _gpu, _tensorrt
from ssld.errors import DeployError
from tests.unit import fake_tensorrt
from tests.unit.test_deploy_formats import GIVEN, IMAGES, LOSSY, toy


def test_a_tensorrt_plan_is_built_gated_and_described(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paddle, "CUDAPlace", lambda number: paddle.CPUPlace())
    monkeypatch.setattr(paddle.device.cuda, "current_stream", fake_tensorrt.stream)
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda number: "a GPU")
    monkeypatch.setattr(_gpu, "why_not", lambda packages, paddle=True: None)
    monkeypatch.setattr(_tensorrt, "run_module", lambda name, arguments, **_: _tensorrt.main(*arguments))
    how = How(preprocess=True, plan_precision="int8")
    results = release(
        toy(), tmp_path / "x", IMAGES, name="toy", contract=GIVEN, formats=["tensorrt"], how=how, calibration=IMAGES,
        allowed=LOSSY,
    )  # fmt: skip
    assert 0 < results["tensorrt"]["max_abs_diff"] < results["tensorrt"]["bound"]
    contract = contracts.read(tmp_path / "x")
    assert contract["plan"] == {"precision": "int8", "batches": [1, 1, 32], "tensorrt": "10.9.0", "gpu": "a GPU"}
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["contract.json", "model.plan"]


def test_a_file_for_phones_is_made_by_paddle_lites_command_and_its_program_passes_the_gate(tmp_path, monkeypatch):
    command = tmp_path / "bin" / "paddle_lite_opt"
    command.parent.mkdir()
    command.write_text(
        '#!/bin/sh\nfor word; do case $word in --optimize_out=*) echo "$@" > "${word#*=}.nb";; esac; done\n'
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    results = release(toy(), tmp_path / "x", IMAGES, name="toy", contract=GIVEN, formats=["paddlelite"])
    assert results["paddlelite"]["not_run"] == "for Arm processors, this is x86_64"
    assert results["paddle2"]["agree"] == 100.0
    words = (tmp_path / "x" / "model.nb").read_text().split()
    assert [Path(word.partition("=")[2]).name for word in words[:2]] == ["model2.pdmodel", "model2.pdiparams"]
    assert words[2] == "--optimize_out_type=naive_buffer"
    assert words[-1] == "--valid_targets=arm"


def test_paddle_lites_command_that_fails_is_one_line(tmp_path, monkeypatch):
    command = tmp_path / "bin" / "paddle_lite_opt"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\necho 'Error: op pool3d is not supported' >&2\nexit 3\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    message = "^model.nb: the converter ended with exit code 3; Error: op pool3d is not supported$"
    with pytest.raises(DeployError, match=message):
        export_model(toy(), tmp_path / "x", name="toy", contract=GIVEN, formats=["paddlelite"])
