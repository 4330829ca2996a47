"""Engines of a GPU and of phones, up to the call into the library that is missing here.

TensorRT is a stand-in of its documented API; the graph, the memory and the numbers are real.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld.deploy import ENGINES, export_model, ready, usable
from ssld.deploy import contract as contracts
from ssld.deploy.engines import _gpu, _tensorrt
from ssld.errors import DeployError
from tests.unit import fake_tensorrt

SIZE = 16
CONTRACT: dict[str, Any] = {
    "arch": "toy",
    "classes": 4,
    "digest": "d" * 64,
    "input": {"size": SIZE, "mean": [0.0] * 3, "std": [1.0] * 3, "resize": SIZE},
}
ON_GPU = [name for name in ENGINES.names() if ENGINES.get(name).device == "gpu"]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Layer, Path]:
    paddle.seed(0)
    model = nn.Sequential(nn.Conv2D(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(4, 4))
    folder = tmp_path_factory.mktemp("gpu") / "export"
    export_model(model, folder, name="toy", contract=CONTRACT)
    return model, folder


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """TensorRT's stand-in with Paddle's memory on the CPU; the child process is a call."""
    made = fake_tensorrt.module()
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(paddle, "CUDAPlace", lambda number: paddle.CPUPlace())
    monkeypatch.setattr(paddle.device.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(_gpu, "why_not", lambda packages, paddle=True: None)

    def in_process(name: str, arguments: list[str], *, what: str, seconds: float) -> None:
        assert name == "ssld.deploy.engines._tensorrt"
        try:
            _tensorrt.main(*arguments)
        except SystemExit as end:
            raise DeployError(f"{what}: {end}") from None

    monkeypatch.setattr(_tensorrt, "run_module", in_process)
    return made


def eager(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return model(paddle.to_tensor(images)).numpy()


@pytest.mark.parametrize("name", ON_GPU)
def test_an_engine_of_the_gpu_says_here_why_not(name):
    assert usable()[name]
    with pytest.raises(DeployError, match=rf"^engine '{name}': .*; ") as caught:
        ready(name)
    assert "\n" not in str(caught.value)


def test_what_is_missing_for_a_gpu_is_told_in_the_order_in_which_to_mend_it(monkeypatch, tmp_path):
    assert _gpu.why_not({"no_such_module": "tensorrt"}) == (
        "tensorrt is not installed; pip install tensorrt, on a machine with an NVIDIA GPU"
    )
    monkeypatch.setattr(_gpu, "has_gpu", lambda: False)
    assert "no NVIDIA GPU here" in str(_gpu.why_not({"numpy": "numpy"}))
    monkeypatch.setattr(_gpu, "has_gpu", lambda: True)
    monkeypatch.setattr(_gpu, "paddle_has_cuda", lambda: False)
    assert "this PaddlePaddle has no CUDA" in str(_gpu.why_not({"numpy": "numpy"}))
    assert _gpu.why_not({"numpy": "numpy"}, paddle=False) is None


@pytest.mark.parametrize(("text", "there"), [("'False'", False), ("'12.6'", True), ("''", False)])
def test_whether_paddle_has_cuda_is_read_from_its_version_file(monkeypatch, tmp_path, text, there):
    assert _gpu.paddle_has_cuda() is paddle.is_compiled_with_cuda()
    (tmp_path / "version").mkdir()
    (tmp_path / "version" / "__init__.py").write_text(f"full_version = '3.3.1'\ncuda_version     = {text}\n")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(_gpu, "find_spec", lambda name: spec)
    assert _gpu.paddle_has_cuda() is there


def test_the_profile_is_made_of_the_dynamic_axes_of_the_contract():
    given = {"size": 224, "dynamic": ["batch", "height", "width"], "layout": "NCHW"}
    assert _gpu.profile({"input": given}, (1, 4, 8)) == [[1, 3, 224, 224], [4, 3, 224, 224], [8, 3, 224, 224]]
    assert _gpu.profile({"input": given}, (1, 1, 2), (192, 224, 256)) == [
        [1, 3, 192, 192], [1, 3, 224, 224], [2, 3, 256, 256]
    ]  # fmt: skip
    fixed = given | {"dynamic": ["batch"], "layout": "NHWC"}
    assert _gpu.profile({"input": fixed}, (1, 1, 2), (192, 224, 256)) == [[n, 224, 224, 3] for n in (1, 1, 2)]
    assert _gpu.profile({"input": given | {"dynamic": []}}, (1, 4, 8)) == [[1, 3, 224, 224]] * 3
    with pytest.raises(DeployError, match=r"engine: batches \[2, 1, 4\]; give smallest, best and largest"):
        _gpu.profile({"input": given}, (2, 1, 4))


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
