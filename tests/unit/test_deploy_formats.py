"""These tests write every format, and what a file holds beside the network, with real converters and real engines."""

from typing import Any

import numpy as np
import onnx
import paddle
import pytest
from paddle import nn

from ssld.deploy import ALLOWED, Allowed, How, export_model, needed, ready, release, rounding
from ssld.deploy import contract as contracts
from ssld.deploy.engines._paddle_inference import on_cpu, predictor
from ssld.deploy.gate import Trial, comparison, gate, judge
from ssld.errors import DeployError
from tests.unit.processor import needs_exact_int8

SIZE, CLASSES = 20, 5
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
GIVEN: dict[str, Any] = {
    "arch": "toy",
    "classes": CLASSES,
    "digest": "a" * 64,
    "class_names": list("abcde"),
    "accuracy": {"top1": 90.0, "images": 40},
    "input": {"size": SIZE, "mean": MEAN, "std": STD, "resize": 24},
}
PIXELS = np.random.default_rng(0).integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)
IMAGES = ((PIXELS / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype("float32")
LOSSY = {**ALLOWED, "fp16": Allowed(100.0), "int8": Allowed(100.0, 0.5)}
"""Top-1 of a network that learned nothing flips at will."""


def toy() -> nn.Layer:
    """Return two convolutions, the first with the same range in every channel, the second with unlike channels."""
    paddle.seed(0)
    second = nn.Conv2D(8, 8, 3, 2, 1)
    second.weight.set_value(
        second.weight * paddle.to_tensor(2.0 ** np.arange(8)).astype("float32").reshape([8, 1, 1, 1])
    )
    return nn.Sequential(
        nn.Conv2D(3, 8, 3, 2, 1), nn.Hardswish(), second, nn.ReLU(), nn.AdaptiveAvgPool2D(1), nn.Flatten(),
        nn.Linear(8, CLASSES),
    )  # fmt: skip


def probabilities(model: nn.Layer, images: np.ndarray) -> np.ndarray:
    """Return the probabilities from their definition, in float64."""
    model.eval()
    with paddle.no_grad():
        logits = model(paddle.to_tensor(images)).numpy().astype("float64")
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def all_inside(tmp_path_factory):
    model, folder = toy(), tmp_path_factory.mktemp("inside") / "export"
    formats = ["paddle", "paddle2", "onnx", "int8"]
    results = release(
        model, folder, IMAGES, name="toy", contract=GIVEN, formats=formats, how=How(preprocess=True),
        calibration=IMAGES, allowed=LOSSY,
    )  # fmt: skip
    return model, folder, results


@pytest.mark.parametrize("engine", ["paddle", "paddle2", "onednn", "onnxruntime", "openvino"])
def test_with_preprocessing_inside_a_file_takes_pixels_and_returns_probabilities(all_inside, engine):
    model, folder, _ = all_inside
    made = ready(engine).load(folder)(PIXELS[:3])
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, probabilities(model, IMAGES[:3]), atol=1e-6)


def test_the_contract_of_a_file_that_takes_pixels_says_so(all_inside):
    contract = contracts.read(all_inside[1])
    input_spec = contract["input"]
    assert (input_spec["dtype"], input_spec["layout"], input_spec["dynamic"]) == (
        "uint8",
        "NHWC",
        ["batch", "height", "width"],
    )
    assert contract["output"] == {"name": "probabilities", "dtype": "float32", "shape": ["batch", CLASSES]}
    assert (contract["class_names"], contract["accuracy"]["top1"]) == (list("abcde"), 90.0)
    image = onnx.load(all_inside[1] / "model.onnx").graph.input[0].type.tensor_type
    names = [axis.dim_param or axis.dim_value for axis in image.shape.dim]
    assert (image.elem_type, names) == (onnx.TensorProto.UINT8, ["batch", "height", "width", 3])


def test_the_bound_of_probabilities_is_half_that_of_logits(all_inside):
    model, _, results = all_inside
    with paddle.no_grad():
        largest = np.abs(model(paddle.to_tensor(IMAGES)).numpy()).max()
    assert results["onnx"]["bound"] == pytest.approx(rounding.share(model, "fp32") * largest / 2, rel=1e-4)
    assert results["onnx"]["max_abs_diff"] < results["onnx"]["bound"]


def test_a_wrong_mean_inside_the_file_does_not_pass_the_gate(tmp_path, monkeypatch):
    from ssld.deploy import export, processing

    def wrong(model: Any, input_spec: dict[str, Any], **inside: bool) -> Any:
        return processing.with_processing(model, input_spec | {"mean": [0.5, 0.5, 0.5]}, **inside)

    monkeypatch.setattr(export, "with_processing", wrong)
    how = How(preprocess=True)
    with pytest.raises(DeployError, match=r"paddle at 20 px differs from the model"):
        release(toy(), tmp_path / "x", IMAGES, name="toy", contract=GIVEN, formats=["paddle"], how=how)


def test_with_a_softmax_the_input_stays_and_the_output_is_probabilities(tmp_path):
    model = toy()
    release(model, tmp_path / "x", IMAGES, name="toy", contract=GIVEN, formats=["onnx"], how=How(softmax=True))
    made = ready("onnxruntime").load(tmp_path / "x")(IMAGES[:3])
    np.testing.assert_allclose(made, probabilities(model, IMAGES[:3]), atol=1e-6)


def test_a_fixed_batch_is_one_image_a_call_and_passes_the_gate_so(tmp_path):
    how = How(dynamic_batch=False)
    results = release(toy(), tmp_path / "x", IMAGES[:3], name="toy", contract=GIVEN, formats=["onnx"], how=how)
    assert results["onnx"]["agree"] == 100.0
    contract = contracts.read(tmp_path / "x")
    assert (contract["input"]["dynamic"], contract["output"]["shape"]) == (["height", "width"], [1, CLASSES])
    image = onnx.load(tmp_path / "x" / "model.onnx").graph.input[0].type.tensor_type
    assert image.shape.dim[0].dim_value == 1


# --- fp16 and int8


def test_int8_is_symmetric_with_a_scale_a_channel_and_biases_in_float(all_inside):
    graph = onnx.load(all_inside[1] / "model.int8.onnx").graph
    values = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    quantised = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(quantised) == 3
    for node in quantised:
        for name in node.input[:2]:
            dequantise = made_by[name]
            assert dequantise.op_type == "DequantizeLinear"
            assert made_by[dequantise.input[0]].op_type == "QuantizeLinear"
            assert values[dequantise.input[2]].dtype == np.int8
            assert not values[dequantise.input[2]].any()
        assert all(made_by.get(name) is None or made_by[name].op_type != "DequantizeLinear" for name in node.input[2:])
    (second,) = [node for node in quantised if values_of_weight(node, made_by, values).shape == (8, 8, 3, 3)]
    scales = values[made_by[second.input[1]].input[1]]
    largest = np.abs(values_of_weight(second, made_by, values)).max((1, 2, 3))
    np.testing.assert_allclose(scales, largest / 127, rtol=0.01)


def values_of_weight(node, made_by, values):
    return values[made_by[made_by[node.input[1]].input[0]].input[0]]


@needs_exact_int8
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_runs_in_every_engine_that_reads_it_and_is_near(all_inside, engine):
    model, folder, _ = all_inside
    made = ready(engine, precision="int8").load(folder)(PIXELS)
    gap = np.abs(made - probabilities(model, IMAGES)).max()
    assert 1e-5 < gap < 0.1


def test_onednn_runs_int8_from_paddleslims_program(tmp_path):
    pytest.importorskip("paddleslim", reason="of the extra int8")
    model, folder = toy(), tmp_path / "x"
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    results = release(
        model, folder, IMAGES, name="toy", contract=GIVEN, formats=["paddle2_int8"], how=How(preprocess=True),
        calibration=IMAGES, allowed=LOSSY,
    )  # fmt: skip
    assert results["paddle2_int8"]["max_abs_diff"] < results["paddle2_int8"]["bound"]
    made = ready("onednn", precision="int8").load(folder)(PIXELS)
    native = predictor(folder / "model2_int8.pdmodel", on_cpu(1, onednn=False))(PIXELS)
    assert np.abs(made - native).mean() < 0.005  # Paddle's own kernels simulate the rounding in float32
    assert 1e-5 < np.abs(made - probabilities(model, IMAGES)).mean() < 0.02
    assert all(np.array_equal(before[key], value.numpy()) for key, value in model.state_dict().items())
    names = ["contract.json", "model2_int8.pdiparams", "model2_int8.pdmodel"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_a_program_for_onednn_in_int8_needs_paddleslim(tmp_path, monkeypatch):
    monkeypatch.setattr("ssld.deploy.formats.find_spec", lambda name: None)
    with pytest.raises(DeployError, match=r"paddle2_int8 needs paddleslim, not installed; pip install 'ssld\[int8\]'"):
        export_model(toy(), tmp_path / "x", name="toy", contract=GIVEN, formats=["paddle2_int8"], calibration=IMAGES)


def test_fp16_holds_half_the_bytes_and_keeps_its_ends(tmp_path):
    model = toy()
    results = release(
        model, tmp_path / "x", IMAGES, name="toy", contract=GIVEN, formats=["onnx", "fp16"], allowed=LOSSY
    )
    graph = onnx.load(tmp_path / "x" / "model.fp16.onnx").graph
    ends = [entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.output)]
    assert ends == [onnx.TensorProto.FLOAT] * 2
    sizes = {name: weight_bytes(tmp_path / "x" / file) for name, file in
             (("onnx", "model.onnx"), ("fp16", "model.fp16.onnx"))}  # fmt: skip
    assert sizes["fp16"] == pytest.approx(sizes["onnx"] / 2, abs=64)
    assert 0 < results["fp16"]["max_abs_diff"] <= results["fp16"]["bound"]


def weight_bytes(file):
    return sum(onnx.numpy_helper.to_array(entry).nbytes for entry in onnx.load(file).graph.initializer)


def trial(labels, expected):
    return Trial(np.empty(0), np.empty(0), labels, expected, expected, steepness=1.0, pixels=8, is_slice=True)


@pytest.mark.parametrize(
    ("wrong", "points", "message"),
    [
        (1, 0.5, None),
        (2, 0.5, "top-1 99.00 %, the model's 100.00 % on 200 images, 1.00 points less > 0.5"),
        (2, 1.0, None),
    ],
)
def test_lossy_formats_are_judged_by_points_of_top1(wrong, points, message):
    expected = np.tile(np.array([[1.0, 0.9]], "float32"), (200, 1))
    answer = expected.copy()
    answer[:wrong] = answer[:wrong, ::-1]
    result = judge("int8", trial(np.zeros(200, int), expected), answer, Allowed(points, 0.5), 0.5, 0.0)
    assert result == (message and f"int8 has {message}")
    unlabelled = judge("int8", trial(None, expected), answer, Allowed(points, 0.5), 0.5, 0.0)
    assert bool(unlabelled) == bool(message)


def test_a_lossy_format_that_is_more_often_right_passes():
    expected = np.tile(np.array([[1.0, 0.9]], "float32"), (200, 1))
    answer, labels = expected.copy(), np.zeros(200, int)
    answer[:50], labels[:40] = answer[:50, ::-1], 1
    assert judge("int8", trial(labels, expected), answer, Allowed(0.5, 0.5), 0.5, 0.0) is None
    assert comparison(trial(labels, expected), answer, 0.5)["top1"] == 95
    assert comparison(trial(labels, expected), answer, 0.5)["top1_model"] == 80
    worse = judge("int8", trial(1 - labels, expected), answer, Allowed(0.5, 0.5), 0.5, 0.0)
    assert worse == "int8 has top-1 5.00 %, the model's 20.00 % on 200 images, 15.00 points less > 0.5"


def test_lossy_formats_have_a_bound_on_logits_as_well():
    expected = np.array([[1.0, 0.0]], "float32")
    answer = expected + np.float32(0.6)
    assert "max |diff| of logits 0.6 > bound 0.5" in str(
        judge("int8", trial(np.zeros(1, int), expected), answer, Allowed(100.0, 0.5), 0.5, 0.0)
    )


def test_an_int8_file_of_other_weights_is_rejected_and_kept(tmp_path):
    model, folder = toy(), tmp_path / "x"
    export_model(model, folder, name="toy", contract=GIVEN, formats=["int8"], calibration=IMAGES)
    model[6].bias.set_value(model[6].bias + paddle.to_tensor([1e4, 0.0, 0.0, 0.0, 0.0]))
    with pytest.raises(DeployError, match=r"int8 at 20 px .*; its files are kept as \*.rejected"):
        gate(model, folder, IMAGES, np.zeros(len(IMAGES), int))
    assert sorted(path.name for path in folder.iterdir()) == ["contract.json.rejected", "model.int8.onnx.rejected"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"formats": ["int8"]}, "export: int8 needs images to calibrate with"),
        (
            {"formats": ["int8"], "how": How(opset=12), "calibration": IMAGES},
            "int8 needs an opset of 13 or more, not 12",
        ),
        ({"formats": ["tensorrt"]}, "export: the format tensorrt: tensorrt is not installed; pip install tensorrt"),
        (
            {"formats": ["paddlelite"]},
            "the format paddlelite needs the command paddle_lite_opt, not found; pip install",
        ),
    ],
)
def test_what_a_format_lacks_here_is_said_before_anything_is_written(tmp_path, change, message):
    with pytest.raises(DeployError, match=message) as caught:
        export_model(toy(), tmp_path / "x", name="toy", contract=GIVEN, **change)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_format_is_made_from_others_in_their_order():
    assert needed(["int8"], How()) == ["paddle", "onnx", "int8"]
    assert needed(["tensorrt", "paddle"], How(plan_precision="fp16")) == ["paddle", "onnx", "fp16", "tensorrt"]
    assert needed(["paddlelite"], How()) == ["paddle2", "paddlelite"]
