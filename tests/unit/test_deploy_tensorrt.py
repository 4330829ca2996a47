"""These tests use a stand-in of TensorRT's documented API; the graph, the memory and the numbers are real."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from ssld.deploy import contract as contracts
from ssld.deploy import ready
from ssld.deploy.engines import _gpu, _tensorrt
from ssld.errors import DeployError
from tests.unit import fake_tensorrt
from tests.unit.toy_export import SIZE, eager, write_toy


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("gpu") / "export")


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Install the stand-in of TensorRT with Paddle's memory on the CPU; its child process is a call here."""
    made = fake_tensorrt.module()
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paddle, "CUDAPlace", lambda number: paddle.CPUPlace())
    monkeypatch.setattr(paddle.device.cuda, "current_stream", fake_tensorrt.stream)
    monkeypatch.setattr(_gpu, "why_not", lambda packages, paddle=True: None)

    def in_process(name: str, arguments: list[str], *, what: str, seconds: float) -> None:
        assert name == "ssld.deploy.engines._tensorrt"
        try:
            _tensorrt.main(*arguments)
        except SystemExit as end:
            raise DeployError(f"{what}: {end}") from None

    monkeypatch.setattr(_tensorrt, "run_module", in_process)
    return made


def test_tensorrt_gives_the_logits_of_the_network_for_every_shape_of_its_profile(exported, tensorrt):
    model, folder = exported
    run = ready("tensorrt", batches=(1, 2, 4), pixels=(SIZE, SIZE, 20)).load(folder)
    for shape in ((1, 3, SIZE, SIZE), (4, 3, 20, 20), (1, 3, SIZE, SIZE)):
        images = np.random.default_rng(shape[0]).standard_normal(shape).astype("float32")
        np.testing.assert_allclose(run(images), eager(model, images), atol=1e-6)
    with pytest.raises(DeployError, match=r"\[5, 3, 16, 16\] is outside the shapes that it was built for; "):
        run(np.zeros((5, 3, SIZE, SIZE), "float32"))


def test_tensorrt_keeps_its_timings_and_takes_none_of_another_gpu(exported, tensorrt, tmp_path):
    ready("tensorrt").load(exported[1])
    (kept,) = (tmp_path / "cache" / "ssld").iterdir()
    assert kept.name.startswith("tensorrt-")
    assert kept.read_bytes() == b"+timings"
    ready("tensorrt").load(exported[1])
    assert kept.read_bytes() == b"+timings+timings"
    kept.write_bytes(b"other GPU")
    ready("tensorrt").load(exported[1])
    assert kept.read_bytes() == b"+timings"


@pytest.mark.parametrize(
    ("version", "content", "message"),
    [
        ("8.6.1", None, r"model.onnx: TensorRT: \[ERROR\] TensorRT 8.6.1 is too old; install TensorRT 10 or later"),
        ("10.9.0", "no model", r"model.onnx: TensorRT: \[ERROR\] it cannot read the file: In node 0: UNSUPPORTED"),
    ],
)
def test_tensorrt_names_what_stops_a_build(exported, tensorrt, tmp_path, monkeypatch, version, content, message):
    monkeypatch.setattr(tensorrt, "__version__", version)
    for name in (contracts.CONTRACT, "model.onnx"):
        (tmp_path / name).write_bytes((exported[1] / name).read_bytes())
    if content:
        (tmp_path / "model.onnx").write_text(content)
    with pytest.raises(DeployError, match=message):
        ready("tensorrt").load(tmp_path)


def test_a_plan_of_another_version_or_precision_is_refused(exported, tensorrt, tmp_path):
    contract = contracts.read(exported[1])
    contracts.write(tmp_path, contract | {"plan": {"precision": "fp16"}})
    (tmp_path / "model.plan").write_bytes(b"of another version")
    with pytest.raises(DeployError, match=r"model.plan: was built in fp16, not in fp32; choose that precision"):
        ready("tensorrt_plan").load(tmp_path)
    with pytest.raises(DeployError, match=r"model.plan: TensorRT 10.9.0 cannot load it; a plan fits one version"):
        ready("tensorrt_plan", precision="fp16").load(tmp_path)
