"""These tests ask simulated quantisation for its arithmetic, its choice of layers, its batch norms, and its file."""

import copy

import numpy as np
import onnx
import paddle
import paddle.nn.functional as F
import pytest
from onnx.numpy_helper import to_array
from paddle import nn

from ssld import models
from ssld.deploy import export_model, paddle2_int8
from ssld.deploy.engines.registry import ready
from ssld.deploy.int8_from_training import insert, node_ranges, weight_steps
from ssld.distill.state import set_trainable
from ssld.errors import DeployError, RunError
from ssld.runtime import seed_networks

pytest.importorskip("paddleslim", reason="of the extra int8")
from ssld import quantize
from ssld.quantize.simulated_int8 import largest
from tests.unit.processor import needs_exact_int8

SIZE, CLASSES = 16, 5
IMAGES = [np.random.default_rng(number).standard_normal((8, 3, SIZE, SIZE), dtype="float32") for number in range(4)]
SHORTCUTS = "ResNet18_vd"
GIVEN = {
    "arch": "x",
    "classes": CLASSES,
    "digest": "d" * 64,
    "input": {"size": SIZE, "resize": SIZE, "mean": [0.5] * 3, "std": [0.5] * 3},
}


def network(arch="MobileNetV3_small_x0_35"):
    """Return a network with statistics of the images, as a trained network has."""
    seed_networks(3)
    made = models.create(arch, num_classes=CLASSES, in_size=SIZE)
    quantize.recalibrate(made, IMAGES)
    return made


@pytest.fixture(scope="module")
def floating():
    return network()


@pytest.fixture(scope="module")
def rounding(floating):
    made = quantize.quantise(copy.deepcopy(floating))
    quantize.calibrate(made, IMAGES)
    return made


def logits(model, images=IMAGES[0]):
    with paddle.no_grad():
        return model(paddle.to_tensor(images)).numpy()


@pytest.mark.parametrize("train", ["head", "head_and_norms", "all"])
def test_the_scales_of_a_network_in_int8_are_never_among_what_is_trained(train, rounding):
    copied = copy.deepcopy(rounding)
    listed = {id(parameter) for parameter in set_trainable(copied, train)}
    names = [name for name, parameter in copied.named_parameters() if id(parameter) in listed]
    assert {"head.fc._layer.weight", "head.fc._layer.bias"} <= set(names)
    assert not [name for name in names if "_fake_quant_" in name]
    assert train != "head" or len(names) == 2


def rounded(values, scale):
    """Return the published formula in NumPy: 127 steps to either side, larger values clipped."""
    return (values / scale * 127).round().clip(-127, 127) * scale / 127


def test_a_layer_computes_with_int8_inputs_and_weights_with_a_scale_a_channel(rounding, floating):
    (name, layer), *_ = quantize.quantised(rounding).items()
    weight, scale = layer.weight.numpy(), largest(rounding)[name]
    per_channel = np.abs(weight).max((1, 2, 3), keepdims=True)
    x = rounded(IMAGES[0], scale).astype("float32")
    expected = F.conv2d(
        paddle.to_tensor(x), paddle.to_tensor(rounded(weight, per_channel).astype("float32")), stride=2, padding=1
    )
    with paddle.no_grad():
        made = layer(paddle.to_tensor(IMAGES[0]))
    np.testing.assert_allclose(made.numpy(), expected.numpy(), atol=1e-5)
    assert 0.5 < scale / max(np.abs(images).max() for images in IMAGES) <= 1.0


def test_layers_that_are_kept_stay_as_they_were(floating):
    first, second, *others = quantize.layers(floating)
    made = quantize.quantise(copy.deepcopy(floating), keep=[first, *others])
    assert list(quantize.quantised(made)) == [second]
    with pytest.raises(RunError, match=r"quantize: no layer 'stem\.x' in MobileNetV3_small_x0_35"):
        quantize.quantise(copy.deepcopy(floating), keep=["stem.x"])


def test_calibrating_sets_ranges_and_nothing_else(floating, rounding):
    state = {key.replace("._layer.", "."): value.numpy() for key, value in rounding.state_dict().items()}
    for key, value in floating.state_dict().items():
        np.testing.assert_array_equal(state[key], value.numpy(), err_msg=key)
    assert min(largest(rounding).values()) > 0
    assert not any(layer.training for layer in rounding.sublayers())
    assert 0 < np.abs(logits(rounding) - logits(floating)).max() < np.abs(logits(floating)).max()


def test_small_maps_take_the_products_of_the_float_network_and_say_the_same(rounding, monkeypatch):
    fast = logits(rounding)
    kinds = {type(layer) for layer in quantize.layers(models.create("MobileNetV3_small_x0_35")).values()}
    taken = []
    for kind in (kind for kind in kinds if hasattr(kind, "product")):
        product = kind.product
        monkeypatch.setattr(kind, "product", lambda self, x, product=product: taken.append(product(self, x)) or False)
    np.testing.assert_allclose(logits(rounding), fast, atol=2e-3 * np.abs(fast).max())
    assert any(taken)


def test_training_moves_weights_through_the_rounding(floating):
    made = quantize.quantise(copy.deepcopy(floating))
    quantize.calibrate(made, IMAGES)
    made.train()
    F.cross_entropy(made(paddle.to_tensor(IMAGES[0])), paddle.arange(8) % CLASSES).backward()
    for name, layer in quantize.quantised(made).items():
        assert np.abs(layer.weight.grad.numpy()).max() > 0, name


def test_batch_norms_get_the_mean_of_the_batches_statistics():
    norm = nn.BatchNorm2D(3, momentum=0.99)
    batches = [images * (number + 1) + number for number, images in enumerate(IMAGES)]
    quantize.recalibrate(norm, batches)
    np.testing.assert_allclose(norm._mean.numpy(), np.mean([b.mean((0, 2, 3)) for b in batches], 0), atol=1e-4)
    np.testing.assert_allclose(norm._variance.numpy(), np.mean([b.var((0, 2, 3)) for b in batches], 0), rtol=1e-3)
    assert (norm._momentum, norm.training) == (0.99, False)


def test_the_layer_whose_rounding_hurts_most_is_found(floating):
    planted = copy.deepcopy(floating)
    names = list(quantize.layers(planted))
    widen, last = (quantize.layers(planted)[name].weight for name in names[-2:])
    # The last layer's first input is 0: huge weights on it only widen the scale, and the others fall between two steps.
    widen.set_value(np.concatenate([0 * widen.numpy()[:1], widen.numpy()[1:]]))
    last.set_value(np.concatenate([0 * last.numpy()[:1] + 100, last.numpy()[1:]]))
    before = {key: value.numpy().copy() for key, value in planted.state_dict().items()}
    done = []
    result = quantize.sensitivities(planted, IMAGES[:2], done.append)
    assert (list(result), done) == (names, list(range(1, len(names) + 1)))
    assert quantize.most_sensitive(result, 2)[0] == names[-1]
    assert all(np.array_equal(before[key], value.numpy()) for key, value in planted.state_dict().items())


def test_of_equal_sensitivities_the_earlier_layer_is_kept():
    assert quantize.most_sensitive({"a": 0.1, "b": 0.3, "c": 0.3, "d": 0.2}, 3) == ["b", "c", "d"]


def test_without_paddleslim_the_error_says_what_to_install(floating, monkeypatch):
    monkeypatch.setattr("ssld.quantize.simulated_int8.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"quantize needs paddleslim, not installed; pip install 'ssld\[int8\]'"):
        quantize.quantise(copy.deepcopy(floating))


# --- the file


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a network with shortcuts of which every seventh layer is in int8, and its export.

    Few layers round, because in a network of random weights one input on the edge of two steps changes all that
    follows.
    """
    made = network(SHORTCUTS)
    kept = [name for number, name in enumerate(quantize.layers(made)) if number % 7]
    quantize.quantise(made, keep=kept)
    quantize.calibrate(made, IMAGES)
    folder = tmp_path_factory.mktemp("int8") / "x"
    export_model(made, folder, name="x", contract=GIVEN, formats=["int8"])
    return made, folder, kept


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_exact_int8)])
def test_the_file_says_what_the_rounding_network_says(exported, engine):
    made, folder, _ = exported
    expected, twin = logits(made), logits(quantize.float_twin(made))
    gap = np.abs(ready(engine, precision="int8").load(folder)(IMAGES[0]) - expected).max()
    assert gap < 0.1 * np.abs(twin - expected).max()


def test_a_rounding_network_is_still_itself_after_its_export_to_paddle(rounding, tmp_path):
    before = logits(rounding)
    paddle2_int8.write(
        rounding, tmp_path / "x", paddle.static.InputSpec([None, 3, SIZE, SIZE], "float32", "image"), None
    )
    assert (tmp_path / "x.pdmodel").is_file()
    np.testing.assert_array_equal(logits(rounding), before)


def test_pairs_stand_before_the_layers_that_were_trained_so_and_nowhere_else(exported):
    made, folder, kept = exported
    graph = onnx.load(folder / "model.int8.onnx").graph
    values = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    in_int8 = [node for node in convolutions if node.input[0] in made_by and is_pair(made_by[node.input[0]])]
    assert len(convolutions) - len(in_int8) == len(kept)
    steps = sorted(float(values[made_by[node.input[0]].input[1]]) for node in in_int8)
    np.testing.assert_allclose(steps, sorted(scale / 127 for scale in largest(made).values()), rtol=1e-6)
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul", "DequantizeLinear"):
            assert not any(is_pair(made_by[name]) for name in node.input if name in made_by), node.name


def is_pair(node):
    return node.op_type == "DequantizeLinear"


def test_a_network_in_int8_leaves_in_no_other_format(exported, tmp_path):
    with pytest.raises(DeployError, match="export: onnx is of float networks and this one was trained in int8; choose"):
        export_model(exported[0], tmp_path / "x", name="x", contract=GIVEN, formats=["int8", "onnx"])
    assert not (tmp_path / "x").exists()


def test_a_channel_of_next_to_nothing_lets_its_bias_fit_into_int32():
    weight = np.array([[[[127.0]]], [[[1e-9]]], [[[0.0]]]], "float32")
    steps = weight_steps(weight, 0, np.array([1.0, 5.0, 0.0], "float32"), 0.01)
    assert steps[0] == 1.0
    assert np.abs(np.array([1.0, 5.0, 0.0]) / (steps * 0.01)).max() < 2**31
    assert steps.min() > 0


def test_layers_that_a_file_cannot_tell_apart_are_refused():
    weight = np.ones((1, 1, 1, 1), "float32")
    node = onnx.helper.make_node("Conv", ["x", "w"], ["y"], "one")
    graph = onnx.helper.make_graph([node], "g", [], [], [onnx.numpy_helper.from_array(weight, "w")])
    assert node_ranges(graph, [(weight, 2.0)]) == {"one": 2.0}
    assert node_ranges(graph, [(weight, np.nan)]) == {}
    with pytest.raises(SystemExit, match="two layers have equal weights and other ranges"):
        node_ranges(graph, [(weight, 2.0), (weight, 3.0)])
    with pytest.raises(SystemExit, match="0 layers of the file are known of 1"):
        node_ranges(graph, [(2 * weight, 2.0)])
    insert(graph, {"one": 2.0})
    assert [node.op_type for node in graph.node] == [*["QuantizeLinear", "DequantizeLinear"] * 2, "Conv"]
