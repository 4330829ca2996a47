"""These tests run engines of a GPU and of phones up to the call into the library that is missing here.

paddle.tensorrt and Paddle Lite are stand-ins of their documented APIs; what they get is real.
"""

import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import paddle
import paddle.inference
import pytest

from ssld.deploy import ENGINES, ready, usable
from ssld.deploy import contract as contracts
from ssld.deploy.engines import _gpu, _onnxruntime, paddlelite
from ssld.errors import DeployError
from tests.unit.toy_export import SIZE, eager, write_toy

ON_GPU = [name for name in ENGINES.names() if ENGINES.get(name).device == "gpu"]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("gpu") / "export")


@pytest.mark.parametrize("name", ON_GPU)
def test_an_engine_of_the_gpu_says_why_it_cannot_run_here(name):
    if usable()[name] is None:
        pytest.skip("it can")
    with pytest.raises(DeployError, match=rf"^engine '{name}': .*; ") as caught:
        ready(name)
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in ON_GPU if name != "tensorrt_plan"])
def test_on_a_gpu_it_gives_the_logits_of_the_network(exported, name):
    if why := usable()[name]:
        pytest.skip(why)
    images = np.random.default_rng(0).standard_normal((3, 3, SIZE, SIZE)).astype("float32")
    expected = eager(exported[0], images)
    made = ready(name).load(exported[1])(images)
    np.testing.assert_allclose(made, expected, atol=1e-3 * np.abs(expected).max())


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
    input_spec = {"size": 224, "dynamic": ["batch", "height", "width"], "layout": "NCHW"}
    assert _gpu.profile({"input": input_spec}, (1, 4, 8)) == [[1, 3, 224, 224], [4, 3, 224, 224], [8, 3, 224, 224]]
    assert _gpu.profile({"input": input_spec}, (1, 1, 2), (192, 224, 256)) == [
        [1, 3, 192, 192], [1, 3, 224, 224], [2, 3, 256, 256]
    ]  # fmt: skip
    fixed = input_spec | {"dynamic": ["batch"], "layout": "NHWC"}
    assert _gpu.profile({"input": fixed}, (1, 1, 2), (192, 224, 256)) == [[n, 224, 224, 3] for n in (1, 1, 2)]
    assert _gpu.profile({"input": input_spec | {"dynamic": []}}, (1, 4, 8)) == [[1, 3, 224, 224]] * 3
    with pytest.raises(DeployError, match=r"engine: batches \[2, 1, 4\]; give smallest, best and largest"):
        _gpu.profile({"input": input_spec}, (2, 1, 4))


class Config:
    """A Config of Paddle Inference that writes down what it is asked for; `gpu` is whether it takes the GPU."""

    gpu = True
    asked: ClassVar[list[tuple[str, tuple[Any, ...], dict[str, Any]]]] = []

    def __init__(self, program: str, weights: str):
        self.inner = REAL_CONFIG(program, weights)
        self.inner.disable_gpu()
        Config.asked.append(("program", (Path(program).name,), {}))

    def use_gpu(self) -> bool:
        return self.gpu

    def __getattr__(self, name: str) -> Any:
        assert hasattr(REAL_CONFIG, name), f"paddle.inference.Config has no {name}"
        return lambda *args, **options: Config.asked.append((name, args, options))


REAL_CONFIG = paddle.inference.Config
REAL_PREDICTOR = paddle.inference.create_predictor
PRECISION = paddle.inference.PrecisionType


@pytest.fixture
def paddle_gpu(monkeypatch: pytest.MonkeyPatch) -> type[Config]:
    """Let Paddle Inference write down its settings for a GPU and then run on the CPU."""
    monkeypatch.setattr(paddle.inference, "Config", Config)
    monkeypatch.setattr(paddle.inference, "create_predictor", lambda config: REAL_PREDICTOR(config.inner))
    monkeypatch.setattr(_gpu, "why_not", lambda packages, paddle=True: None)
    monkeypatch.setattr(Config, "asked", [])
    return Config


@pytest.mark.parametrize(("precision", "expected"), [("fp32", PRECISION.Float32), ("fp16", PRECISION.Half)])
def test_paddle_on_a_gpu_asks_for_it_and_for_the_precision(exported, paddle_gpu, precision, expected):
    run = ready("paddle_gpu", precision=precision).load(exported[1])
    assert ("enable_use_gpu", (256, 0, expected), {}) in paddle_gpu.asked
    images = np.ones((2, 3, SIZE, SIZE), "float32")
    np.testing.assert_allclose(run(images), eager(exported[0], images), atol=1e-6)


def test_paddle_that_stays_on_the_cpu_in_silence_is_an_error(exported, paddle_gpu, monkeypatch):
    monkeypatch.setattr(Config, "gpu", False)
    with pytest.raises(DeployError, match=r"^Paddle Inference: did not take the GPU; install paddlepaddle-gpu"):
        ready("paddle_gpu").load(exported[1])


def test_paddle_2s_tensorrt_sees_the_shapes_first_and_calibrates_nothing(exported, paddle_gpu):
    run = ready("paddle_tensorrt_subgraph", precision="fp16", batches=(1, 2, 4)).load(exported[1])
    asked = {name: (args, options) for name, args, options in paddle_gpu.asked}
    (seen,), _ = asked["collect_shape_range_info"]
    assert asked["enable_tuned_tensorrt_dynamic_shape"][0] == (seen, True)
    options = asked["enable_tensorrt_engine"][1]
    documentation = REAL_CONFIG.enable_tensorrt_engine.__doc__
    assert all(f" {name}: " in documentation for name in options)
    assert (options["precision_mode"], options["max_batch_size"]) == (PRECISION.Half, 4)
    assert options["use_calib_mode"] is False
    assert run(np.ones((3, 3, SIZE, SIZE), "float32")).shape == (3, 4)


def test_paddle_3s_tensorrt_converts_with_the_profile_and_runs_what_came_out(exported, paddle_gpu, monkeypatch):
    from ssld.deploy.engines import paddle_tensorrt

    calls: dict[str, Any] = {}

    def convert(prefix: str, config: SimpleNamespace) -> None:
        calls.update(vars(config), prefix=prefix)
        for end in (".json", ".pdiparams"):
            shutil.copy(prefix + end, config.save_model_dir + end)

    fake = ModuleType("paddle.tensorrt")
    modes = SimpleNamespace(FP32="FP32", FP16="FP16")
    names = {"Input": SimpleNamespace, "TensorRTConfig": SimpleNamespace, "PrecisionMode": modes, "convert": convert}
    fake.__dict__.update(names)
    monkeypatch.setitem(sys.modules, "paddle.tensorrt", fake)
    monkeypatch.setattr(paddle, "set_device", lambda name: calls.update(device=name))
    monkeypatch.setattr(
        paddle_tensorrt, "run_module", lambda name, arguments, what, seconds: paddle_tensorrt.main(*arguments)
    )
    run = ready("paddle_tensorrt", precision="fp16", batches=(1, 2, 4)).load(exported[1])
    assert (calls["prefix"], calls["device"]) == (str(exported[1] / "model"), "gpu:0")
    assert calls["precision_mode"] == "FP16"
    (image,) = calls["inputs"]
    assert (image.min_input_shape, image.optim_input_shape) == ([1, 3, SIZE, SIZE], [2, 3, SIZE, SIZE])
    assert (image.max_input_shape, image.input_data_type) == ([4, 3, SIZE, SIZE], "float32")
    assert ("program", ("converted.json",), {}) in paddle_gpu.asked
    images = np.ones((2, 3, SIZE, SIZE), "float32")
    np.testing.assert_allclose(run(images), eager(exported[0], images), atol=1e-6)


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.parametrize("name", ["onnxruntime_cuda", "onnxruntime_tensorrt"])
def test_onnx_runtime_that_falls_back_to_the_cpu_is_an_error(exported, monkeypatch, tmp_path, name):
    """The CPU package really does that: it knows no provider of a GPU, warns, and takes the CPU."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_onnxruntime, "why_not_on_gpu", lambda library: None)
    provider = "CUDAExecutionProvider" if name.endswith("cuda") else "TensorrtExecutionProvider"
    message = rf"model.onnx: ONNX Runtime took \w*CPUExecutionProvider in place of {provider}; install"
    with pytest.raises(DeployError, match=message):
        ready(name).load(exported[1])


def test_onnx_runtimes_tensorrt_is_told_shapes_precision_and_where_timings_lie(exported, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = ENGINES.build("onnxruntime_tensorrt", precision="int8", batches=(1, 2, 4))
    options = engine.options(contracts.read(exported[1]))
    assert options["trt_profile_min_shapes"] == "image:1x3x16x16"
    assert options["trt_profile_opt_shapes"] == "image:2x3x16x16"
    assert options["trt_profile_max_shapes"] == "image:4x3x16x16"
    assert (options["trt_int8_enable"], options["trt_fp16_enable"]) == (True, False)
    assert Path(options["trt_timing_cache_path"]).is_dir()


def test_paddle_lite_reads_its_file_and_says_how_to_measure_it_on_a_phone(exported, monkeypatch, tmp_path):
    calls: dict[str, Any] = {}

    class Predictor:
        def get_input(self, number: int) -> Any:
            return SimpleNamespace(from_numpy=lambda images: calls.update(images=images))

        def run(self) -> None:
            calls["ran"] = True

        def get_output(self, number: int) -> Any:
            return SimpleNamespace(numpy=lambda: calls["images"].mean((2, 3)))

    class MobileConfig:
        def set_model_from_file(self, file: str) -> None:
            calls["file"] = file

        def set_threads(self, number: int) -> None:
            calls["threads"] = number

    def create(config: MobileConfig) -> Predictor:
        if Path(calls["file"]).read_bytes() == b"no model":
            raise RuntimeError("Error: Unsupported model format")
        return Predictor()

    fake = ModuleType("paddlelite")
    fake.lite = SimpleNamespace(MobileConfig=MobileConfig, create_paddle_predictor=create)  # type: ignore[attr-defined]
    fake.__spec__ = ModuleSpec("paddlelite", None)
    monkeypatch.setitem(sys.modules, "paddlelite", fake)
    (tmp_path / "model.nb").write_bytes(b"no model")
    with pytest.raises(DeployError, match=r"model.nb: Paddle Lite cannot load it; Error: Unsupported model format$"):
        ready("paddlelite").load(tmp_path)
    (tmp_path / "model.nb").write_bytes(b"a model")
    assert ready("paddlelite", threads=2).load(tmp_path)(np.ones((2, 3, 4, 4), "float32")).shape == (2, 3)
    assert (calls["threads"], calls["ran"]) == (2, True)
    command = paddlelite.phone_command(Path("export/model.nb"), contracts.read(exported[1]))
    assert command == (
        "adb shell mkdir -p /data/local/tmp/ssld && adb push benchmark_bin export/model.nb /data/local/tmp/ssld/ && "
        'adb shell "cd /data/local/tmp/ssld && chmod +x benchmark_bin && ./benchmark_bin '
        "--optimized_model_file=model.nb --input_shape=1,3,16,16 --warmup=10 --repeats=30 --threads=1 "
        '--backend=arm"'
    )
