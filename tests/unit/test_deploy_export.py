"""These tests run export and gate with real converters and real engines on small networks."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.jit.dy2static import parameter_recorder as recorder

from ssld import models
from ssld.deploy import How, export_model, ready, release, rounding
from ssld.deploy import contract as contracts
from ssld.deploy import formats as forms
from ssld.deploy.child_process import reason, run_module
from ssld.deploy.gate import CHUNK, far_apart, gate, other_class
from ssld.errors import DeployError, SsldError
from ssld.files import alone

SIZE = 20
IMAGES = np.random.default_rng(0).standard_normal((CHUNK + 7, 3, SIZE, SIZE)).astype(np.float32)
LABELS = np.arange(len(IMAGES)) % 6 - 1
GIVEN: dict[str, Any] = {
    "arch": "toy",
    "classes": 5,
    "digest": "a" * 64,
    "input": {"size": SIZE, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize": 24},
}


def toy() -> nn.Layer:
    """Return a convolution and a batch norm with statistics of its own, for images of any size."""
    paddle.seed(0)
    norm = nn.BatchNorm2D(8)
    norm._mean.set_value(paddle.linspace(-1, 1, 8))
    norm._variance.set_value(paddle.linspace(0.5, 2, 8))
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, 2, 1), norm, nn.Hardswish(), nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(8, 5)
    )


def eager(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    model.eval()
    with paddle.no_grad():
        return model(paddle.to_tensor(images)).numpy()


def line(caught: pytest.ExceptionInfo[DeployError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Layer, Path]:
    model, folder = toy(), tmp_path_factory.mktemp("toy") / "export"
    export_model(model, folder, name="toy", contract=GIVEN)
    return model, folder


def test_an_export_is_three_model_files_and_a_contract_and_nothing_stays_beside_it(exported):
    _, folder = exported
    assert sorted(p.name for p in folder.iterdir()) == ["contract.json", "model.json", "model.onnx", "model.pdiparams"]
    assert [p.name for p in folder.parent.iterdir()] == ["export"]


def test_the_contract_says_what_goes_in_and_comes_out(exported):
    _, folder = exported
    contract = json.loads((folder / "contract.json").read_text())
    assert contract["input"] == {
        "name": "image", "dtype": "float32", "layout": "NCHW", "dynamic": ["batch", "height", "width"],
        "background": [255, 255, 255], "rounding": "half up", **GIVEN["input"],
    }  # fmt: skip
    assert contract["output"] == {"name": "logits", "dtype": "float32", "shape": ["batch", 5]}
    assert (contract["name"], contract["arch"], contract["opset"]) == ("toy", "toy", 17)
    assert contract["files"].keys() == {"model.json", "model.pdiparams", "model.onnx"}
    assert contract["files"]["model.onnx"] == contracts.describe(folder / "model.onnx")
    assert {"ssld", "python", "paddlepaddle"} <= contract["versions"].keys()


def test_the_onnx_file_names_its_ends(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(exported[1] / "model.onnx"), providers=["CPUExecutionProvider"])
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.shape) == ("image", ["batch", 3, "height", "width"])
    assert (logits.name, logits.shape) == ("logits", ["batch", 5])


@pytest.mark.parametrize("engine", ["paddle", "onednn", "onnxruntime", "openvino"])
@pytest.mark.parametrize("shape", [(1, 3, 20, 20), (5, 3, 20, 20), (2, 3, 33, 41)])
def test_batch_height_and_width_are_dynamic_in_every_engine(exported, engine, shape):
    model, folder = exported
    images = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    np.testing.assert_allclose(ready(engine).load(folder)(images), eager(model, images), atol=1e-5)


def test_the_gate_passes_a_true_export_and_reports_each_format(exported):
    model, folder = exported
    results = gate(model, folder, IMAGES, LABELS)
    assert list(results) == ["paddle", "onnx"]
    expected = eager(model, IMAGES)
    known = LABELS >= 0
    for result in results.values():
        bound = rounding.share(model, "fp32") * np.abs(expected).max()
        assert result["max_abs_diff"] <= result["bound"] == pytest.approx(bound)
        assert result["agree"] == 100.0
        assert result["top1"] == result["top1_model"]
        assert result["top1"] == pytest.approx(100 * np.mean(expected.argmax(1)[known] == LABELS[known]))
    assert results["onnx"]["sha256"] == contracts.describe(folder / "model.onnx")["sha256"]


def test_the_gate_knows_no_accuracy_without_labels(exported):
    model, folder = exported
    assert gate(model, folder, IMAGES[:2])["onnx"]["top1"] is None
    assert gate(model, folder, IMAGES[:2], np.full(2, -1))["onnx"]["top1_model"] is None


def test_a_zoo_network_passes_the_gate_and_lists_its_classes(tmp_path):
    model = models.create("MobileNetV3_small_x0_35", num_classes=10)
    contract = {**GIVEN, "arch": model.arch, "classes": [str(n) for n in range(10)]}
    results = release(model, tmp_path / "export", IMAGES[:4], name="student", contract=contract)
    assert results.keys() == {"paddle", "onnx"}
    contract = contracts.read(tmp_path / "export")
    assert contract["output"]["shape"] == ["batch", 10]
    assert contract["input"]["dynamic"] == ["batch", "height", "width"]
    allowed = {"fp32": {"points": 0.0, "share": None}}
    assert contract["gate"] == {"images": 4, "allowed": allowed, "formats": results}


@pytest.mark.parametrize("engine", ["paddle", "onednn", "onnxruntime", "openvino"])
def test_a_network_whose_maps_have_odd_sizes_runs_in_every_engine(engine, odd_maps):
    model, folder = odd_maps
    images = np.random.default_rng(1).standard_normal((2, 3, 28, 28)).astype(np.float32)
    expected = eager(model, images)
    atol = rounding.share(model, "fp32") * np.abs(expected).max()
    np.testing.assert_allclose(ready(engine).load(folder)(images), expected, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def odd_maps(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Layer, Path]:
    """Return a network with maps of 7 pixels, which the shortcuts of ResNet_vd pad.

    oneDNN once refused a pooling that padded them twice.
    """
    paddle.seed(0)
    model, folder = models.create("ResNet18_vd", num_classes=5, in_size=28), tmp_path_factory.mktemp("odd") / "export"
    export_model(model, folder, name="odd", contract=GIVEN | {"input": GIVEN["input"] | {"size": 28}})
    return model, folder


def test_the_model_keeps_the_mode_of_every_layer_and_its_statistics(tmp_path):
    model = toy()
    model.train()
    model[1].eval()
    before = [layer.training for layer in model.sublayers(include_self=True)]
    state = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    release(model, tmp_path / "export", IMAGES, name="toy", formats=["paddle"], contract=GIVEN)
    assert [layer.training for layer in model.sublayers(include_self=True)] == before
    assert all(np.array_equal(state[key], value.numpy()) for key, value in model.state_dict().items())


def test_weights_changed_after_the_export_are_rejected_and_the_files_kept(tmp_path):
    model = toy()
    export_model(model, tmp_path / "export", name="toy", formats=["paddle"], contract=GIVEN)
    model[5].weight.set_value(model[5].weight * 1.05)
    with pytest.raises(
        DeployError, match=r"paddle at 20 px differs from the model, max \|diff\| of logits .* > bound"
    ) as caught:
        gate(model, tmp_path / "export", IMAGES)
    line(caught)
    kept = sorted(p.name for p in (tmp_path / "export").iterdir())
    assert kept == ["contract.json.rejected", "model.json.rejected", "model.pdiparams.rejected"]


def test_a_file_changed_after_the_export_is_named(tmp_path):
    model = toy()
    export_model(model, tmp_path / "export", name="toy", formats=["paddle"], contract=GIVEN)
    with (tmp_path / "export" / "model.pdiparams").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"!")
    with pytest.raises(DeployError, match=r"model\.pdiparams: damaged \(its sha256 is that of another") as caught:
        gate(model, tmp_path / "export", IMAGES)
    line(caught)


def test_another_class_counts_where_rounding_does_not_explain_it():
    expected = np.array([[1.0, 1.0001], [3.0, 0.0]], np.float32)
    flipped = np.array([[1.0002, 1.0001], [3.0, 0.0]], np.float32)
    assert other_class("onnx", expected, expected, 0.0) is None
    assert other_class("onnx", expected, flipped, 0.0002) is None
    failure = "another top-1 on 1 of 2 images, the first is image 0, whose two best classes are 0.0001 apart > 5e-05"
    assert failure in str(other_class("onnx", expected, flipped, 0.00005))
    assert other_class("onnx", expected[:, :1], flipped[:, :1], 0.0) is None


def test_logits_that_are_no_numbers_or_of_another_shape_are_a_failure():
    expected = np.ones((2, 3), np.float32)
    assert "differs from the model" in str(far_apart("onnx", expected, expected * np.nan, 1.0))
    assert "returns [2, 1]" in str(far_apart("onnx", expected, expected[:, :1], 1.0))


@pytest.mark.parametrize("images", [IMAGES[:, :, :16, :16], IMAGES.astype(np.float64), IMAGES[:0]])
def test_gate_images_must_be_what_the_contract_asks_for(exported, images):
    with pytest.raises(DeployError, match=r"asks for float32 \[n, 3, 20, 20\], got") as caught:
        gate(*exported, images)
    line(caught)


class Noisy(nn.Layer):
    """It never answers the same twice, so an exported copy cannot agree with it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = toy()

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.dropout(self.net(image), 0.5, training=True)


def test_a_rejected_release_leaves_the_former_export_as_it_was(tmp_path):
    folder = tmp_path / "export"
    release(toy(), folder, IMAGES, name="good", formats=["paddle"], contract=GIVEN)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(DeployError, match=r"export: paddle at 20 px differs.*kept as") as caught:
        release(Noisy(), folder, IMAGES, name="new", formats=["paddle"], contract={**GIVEN, "digest": "b" * 64})
    line(caught)
    after = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"{name}.rejected" for name in before}
    assert [p.name for p in tmp_path.iterdir()] == ["export"]


def test_a_passing_release_replaces_another_export_whole(tmp_path):
    folder = tmp_path / "export"
    release(toy(), folder, IMAGES, name="old", formats=["paddle"], contract=GIVEN)
    (folder / "model.onnx.rejected").write_text("of an earlier attempt")
    release(toy(), folder, IMAGES, name="new", formats=["paddle"], contract={**GIVEN, "digest": "b" * 64})
    assert contracts.read(folder)["name"] == "new"
    assert sorted(p.name for p in folder.iterdir()) == ["contract.json", "model.json", "model.pdiparams"]


def test_an_ungated_export_does_not_replace_the_export_of_another_digest(tmp_path):
    export_model(toy(), tmp_path / "export", name="old", formats=["paddle"], contract=GIVEN)
    export_model(toy(), tmp_path / "export", name="again", formats=["paddle"], contract=GIVEN)
    with pytest.raises(DeployError, match=r"holds the export of again \(aaaaaaaa\)") as caught:
        export_model(toy(), tmp_path / "export", name="new", formats=["paddle"], contract={**GIVEN, "digest": "b" * 64})
    line(caught)


def test_a_folder_with_other_files_is_never_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(DeployError, match=r"holds 'thesis.txt', which is no export") as caught:
        export_model(toy(), tmp_path / "mine", name="toy", formats=["paddle"], contract=GIVEN)
    line(caught)
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_an_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DeployError, match="cannot be written") as caught:
        export_model(toy(), tmp_path / "file" / "export", name="toy", formats=["paddle"], contract=GIVEN)
    line(caught)


def test_an_export_needs_no_home_folder_and_an_error_names_the_file_that_it_is_about(tmp_path, monkeypatch):
    """A home folder that cannot be written to once read as an export that cannot be written."""
    monkeypatch.setenv("HOME", "/proc/none")
    export_model(toy(), tmp_path / "export", name="toy", formats=["paddle"], contract=GIVEN)
    assert os.environ["HOME"] == "/proc/none"

    def denied(*given):
        raise PermissionError(errno.EACCES, "Permission denied", "/home/user/.cache/converter")

    monkeypatch.setattr(forms, "write_derived", denied)
    with pytest.raises(DeployError) as caught:
        export_model(toy(), tmp_path / "export", name="toy", formats=["paddle"], contract=GIVEN)
    assert line(caught) == "/home/user/.cache/converter: Permission denied; mend that and repeat the command"


def test_what_a_killed_export_left_is_removed_by_the_next_one_and_that_of_a_living_one_is_not(tmp_path):
    def left(name, files=("model.json",)):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("half")
        return tmp_path / name

    left(".export.partial-4194304")
    living, other = left(".export.partial-1"), left(".other.partial-4194304")
    with alone(living):
        export_model(toy(), tmp_path / "export", name="toy", formats=["paddle"], contract=GIVEN)
    assert sorted(p.name for p in tmp_path.iterdir()) == [living.name, other.name, "export"]


def untraceable() -> nn.Layer:
    """Return a network that runs on any size, but whose reshape cannot be traced with an unknown one."""
    return paddle.vision.models.shufflenet_v2_x0_25(num_classes=3)


def on_a_grid() -> nn.Layer:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3))


@pytest.mark.parametrize("make", [untraceable, on_a_grid])
def test_a_network_of_one_size_is_exported_for_that_size_and_says_so(tmp_path, make):
    release(make(), tmp_path / "export", IMAGES, name="fixed", formats=["paddle"], contract={**GIVEN, "classes": 3})
    assert contracts.read(tmp_path / "export")["input"]["dynamic"] == ["batch"]
    assert not recorder._global_parameter_recorder.tensor2value, "of a program whose tracing failed"


def test_only_onnx_leaves_no_paddle_program(tmp_path):
    export_model(toy(), tmp_path / "export", name="toy", formats=["onnx"], how=How(opset=11), contract=GIVEN)
    assert sorted(p.name for p in (tmp_path / "export").iterdir()) == ["contract.json", "model.onnx"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": How(opset=22)}, "opset: should be an integer from 9 to 21; got 22"),
        ({"how": How(opset=8)}, "opset: should be an integer from 9 to 21; got 8"),
        ({"formats": ["onyx"]}, "no format 'onyx'; did you mean 'onnx'"),
        ({"formats": []}, "no format given"),
        (
            {"contract": {"arch": "toy", "input": {"size": 4}}},
            "lacks classes, digest, input.mean, input.std, input.resize",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(SsldError, match=message) as caught:
        export_model(toy(), tmp_path / "export", **{"name": "toy", "contract": GIVEN, **change})
    line(caught)
    assert not list(tmp_path.iterdir())


def test_weights_too_large_for_one_onnx_file_lie_beside_it(tmp_path, monkeypatch):
    """The limit of 2 GiB is lowered to nothing here; the tests of the zoo export a network of 3.3 GB."""
    code = "import sys; from ssld.deploy import onnx; onnx.LARGEST = 0; onnx.main(*sys.argv[1:])"

    def run_lowered(module, arguments, **_):
        assert module == "ssld.deploy.onnx"
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, *arguments], capture_output=True, check=True)

    monkeypatch.setattr("ssld.deploy.formats.run_module", run_lowered)
    model = toy()
    results = release(model, tmp_path / "export", IMAGES, LABELS, name="toy", contract=GIVEN)
    weights = 4 * sum(value.size for value in model.state_dict().values())
    files = contracts.read(tmp_path / "export")["files"]
    assert files["model.onnx.data"]["bytes"] == weights
    assert results["onnx"]["file"] == "model.onnx.data"
    assert results["onnx"]["bytes"] == files["model.onnx"]["bytes"] + weights
    (tmp_path / "export" / "model.onnx.data").unlink()
    with pytest.raises(DeployError, match=r"model.onnx.data: no such file; export it again"):
        gate(model, tmp_path / "export", IMAGES)


def test_a_converter_that_aborts_is_reported_with_its_signal_and_its_words(exported, tmp_path):
    ends = ["batch,channel,height,width", "logits"]
    arguments = [str(exported[1] / "model.json"), str(tmp_path / "model.onnx"), "22", *ends]
    with pytest.raises(
        DeployError, match=r"^model.onnx: the converter ended with signal SIGABRT; .*opset version"
    ) as caught:
        run_module("ssld.deploy.onnx", arguments, what="model.onnx", seconds=60)
    line(caught)


def test_a_converter_that_fails_is_reported_with_its_exit_code_and_its_last_line():
    with pytest.raises(DeployError, match=r"^x: the converter ended with exit code 1; SyntaxError") as caught:
        run_module("timeit", ["-n", "1", "1 +"], what="x", seconds=30)
    line(caught)


def test_a_converter_that_hangs_is_stopped():
    with pytest.raises(DeployError, match=r"^x: took longer than 0.5 s and was stopped") as caught:
        run_module("timeit", ["-n", "1", "import time; time.sleep(20)"], what="x", seconds=0.5)
    line(caught)


def test_the_reason_of_a_paddle_error_is_its_last_telling_line():
    assert reason("Traceback\n\x1b[31mno\x1b[0m  file there\n[operator < linear > error]\n---\n") == "no file there"
    assert reason("") == "it gave no reason"


class OtherWhenLarger(nn.Layer):
    """Its eager code has a branch that a trace of the other branch cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.net = toy()

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        return self.net(image) * scale_of(image)


@paddle.jit.not_to_static
def scale_of(image: paddle.Tensor) -> float:
    return 2.0 if image.shape[2] > SIZE else 1.0


def test_an_export_that_is_true_at_its_own_size_only_is_rejected(tmp_path):
    with pytest.raises(DeployError, match=r"paddle at 52 px differs from the model"):
        release(OtherWhenLarger(), tmp_path / "export", IMAGES, name="x", formats=["paddle"], contract=GIVEN)
