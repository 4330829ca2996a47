"""Networks of one's own: made, checked, asked for taps, counted, saved, rounded to int8 and exported."""

import copy
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ssld import models, quantize, weights
from ssld.config.optim import Optim
from ssld.deploy import contract, export_model, release
from ssld.deploy.engines.registry import ready
from ssld.distill import optim
from ssld.distill.state import set_trainable
from ssld.distill.step import Step, weights_of
from ssld.errors import RecipeError, RunError, WeightsError
from ssld.interfaces import Outputs
from ssld.losses.base import Loss, Reads
from ssld.losses.objective import Objective
from ssld.losses.terms import Term
from ssld.models import classifier_of, count, create_own, outputs_of, taps_of
from tests.unit.own_networks import Cnn, Speaking, Vit, sequence
from tests.unit.processor import needs_exact_int8

SIZE, CLASSES = 16, 5
MAKERS = {"Cnn": Cnn, "Vit": Vit, "sequence": sequence}
TAPS = {
    "Cnn": {"stage1": "body.0", "stage3": "body.2", "classifier": "fc"},
    "Vit": {"stage1": "blocks.0", "attention": "blocks.1.attention"},
    "sequence": {"stage1": "act", "embedding": "flat"},
}
SHAPES = {
    "Cnn": {"stage1": [4, 8, 8, 8], "stage3": [4, 8, 8, 8], "embedding": [4, 8]},
    "Vit": {"stage1": [4, 17, 16], "attention": [4, 17, 16], "embedding": [4, 16]},
    "sequence": {"stage1": [4, 6, 16, 16], "embedding": [4, 6]},
}
IMAGES = np.random.default_rng(0).standard_normal((4, 3, SIZE, SIZE), dtype="float32")


def own(name, taps=None, **options):
    paddle.seed(1)
    given = TAPS[name] if taps is None else taps
    title = f"nets.py:{name}"
    return create_own(MAKERS[name], title, num_classes=CLASSES, in_size=SIZE, options=options, taps=given)


def make(maker, taps=None, **options):
    return create_own(maker, "nets.py:Net", num_classes=CLASSES, in_size=SIZE, options=options, taps=taps)


def logits(network, images=IMAGES):
    with models.evaluating(network), paddle.no_grad():
        return network(paddle.to_tensor(images)).numpy()


def refused(maker, message, taps=None, **options):
    with pytest.raises(RecipeError, match=re.escape(message)) as caught:
        make(maker, taps, **options)
    assert str(caught.value).startswith("nets.py:Net: ")
    assert "\n" not in str(caught.value)


# --- making


@pytest.mark.parametrize("name", MAKERS)
def test_a_network_stays_of_its_class_and_keys_and_has_the_attributes_of_networks(name):
    network, plain = own(name), MAKERS[name](CLASSES, **({"in_size": SIZE} if name == "Vit" else {}))
    assert type(network) is type(plain)
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert (network.arch, network.num_classes, network.in_size) == (name, CLASSES, SIZE)
    assert all(layer.training for layer in network.sublayers(include_self=True))
    assert not any(layer._forward_post_hooks or layer._forward_pre_hooks for layer in network.sublayers(True))


def test_parameter_names_do_not_depend_on_what_was_made_before_and_options_arrive():
    first, wide = own("Cnn"), own("Cnn", width=12)
    assert [p.name for p in first.parameters()] == [p.name for p in own("Cnn").parameters()]
    assert all(p.name.startswith("Cnn_") for p in first.parameters())
    assert wide.fc.weight.shape == [12, CLASSES]


def test_code_that_changes_its_options_does_not_change_the_plan():
    def greedy(num_classes, widths):
        return sequence(num_classes, widths.pop())

    options = {"widths": [4, 6]}
    create_own(greedy, "nets.py:greedy", num_classes=3, in_size=8, options=options)
    assert options == {"widths": [4, 6]}


class Fussy(Cnn):
    def forward(self, x):
        return super().forward(x) @ paddle.ones([3, 3])


class Pair(Cnn):
    def forward(self, x):
        return super().forward(x), x


class Softmaxed(Cnn):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.classifier = self.fc

    def forward(self, x):
        return F.softmax(super().forward(x))


class Hidden(Cnn):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.more = [nn.Linear(num_classes, num_classes)]

    def forward(self, x):
        return self.more[0](super().forward(x))


class Twice(nn.Layer):
    """One layer that is called twice, one never, one whose output is changed in place, one that gives two tensors."""

    def __init__(self, num_classes):
        super().__init__()
        self.a, self.b = nn.Conv2D(3, 3, 1), nn.Conv2D(3, 3, 1)
        self.never, self.pair = nn.Linear(3, 3), PairOf()
        self.fc = nn.Linear(3, num_classes)

    def forward(self, x):
        x = self.b(self.a(self.a(x)))
        F.relu_(x)
        return self.fc(self.pair(x)[0].mean([2, 3]))


class PairOf(nn.Layer):
    def forward(self, x):
        return x, x


class NamedWrong(Cnn):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.in_size = 7


def of_two_parts(num_classes):
    parts = []
    for _ in range(2):
        with paddle.utils.unique_name.guard("part_"):
            parts.append(nn.Linear(num_classes, num_classes))
    return nn.Sequential(sequence(num_classes), *parts)


def broken(num_classes):
    raise ValueError("no\nluck")


@pytest.mark.parametrize(
    ("maker", "options", "message"),
    [
        (Cnn, {"widht": 3}, "no option 'widht'; did you mean 'width'?; it takes depth, width"),
        (Cnn, {"in_size": 3}, "option 'in_size' is given by the recipe's images and classes; remove it"),
        (lambda classes: None, {}, "takes no num_classes, the number of logits; give it a parameter of that name"),
        (lambda num_classes, a, b: None, {"a": 1}, "needs b; give it in `options`"),
        (broken, {}, "making it failed in line"),
        (broken, {}, "of test_models_own.py (ValueError: no); correct its code"),
        (lambda num_classes: 3, {}, "gives a int; return a paddle.nn.Layer"),
        (dict, {}, "is a class that is no paddle.nn.Layer"),
        (7, {}, "is a int; name a class of paddle.nn.Layer, or a function"),
        (Fussy, {}, "a forward pass of images [2, 3, 16, 16] failed in line"),
        (Fussy, {}, "In operator matmul"),
        (Pair, {}, "returns a tuple; return one tensor, logits [N, 5]"),
        (lambda num_classes: sequence(7), {}, "returns float32 [2, 7] for 2 images of 5 classes"),
        (Softmaxed, {}, "its classifier does not make the logits"),
        (Hidden, {}, "more holds parameters in a plain list, tuple or dict, where nothing trains or saves them"),
        (of_two_parts, {}, "2 of its parameters have the name 'part_part_linear_0."),
        (NamedWrong, {}, "its attribute in_size is 7, not 16; call it otherwise"),
    ],
)
def test_what_is_wrong_with_a_network_is_one_line(maker, options, message):
    refused(maker, message, **options)


def test_logits_that_are_not_finite_are_refused():
    def burst(num_classes):
        network = sequence(num_classes)
        network.head.bias.set_value(np.full(num_classes, np.nan, "float32"))
        return network

    refused(burst, "its logits of drawn images are not finite")


# --- taps


@pytest.mark.parametrize("name", MAKERS)
def test_taps_are_outputs_of_the_forward_pass_and_logits_stay_the_same(name):
    network = own(name)
    assert taps_of(network) == SHAPES[name].keys()
    network.eval()
    found = outputs_of(network, paddle.to_tensor(IMAGES), [*SHAPES[name], "logits"])
    assert isinstance(found, Outputs)
    assert {tap: found[tap].shape for tap in SHAPES[name]} == SHAPES[name]
    assert found["logits"].numpy().tobytes() == logits(network).tobytes()
    classifier = classifier_of(network) or network.head
    assert classifier(found["embedding"]).numpy().tobytes() == found["logits"].numpy().tobytes()
    assert not any(layer._forward_post_hooks or layer._forward_pre_hooks for layer in network.sublayers(True))


def test_a_tap_carries_the_gradient_down_to_the_layer_and_no_further():
    network = own("Cnn")
    outputs_of(network, paddle.to_tensor(IMAGES), ["stage1"])["stage1"].square().sum().backward()
    reached = {key for key, parameter in network.named_parameters() if parameter.grad is not None}
    assert reached == {
        key for key, p in network.named_parameters() if key.startswith(("stem", "body.0")) and p.trainable
    }


def test_a_network_that_gives_its_taps_itself_keeps_them():
    network = make(Speaking)
    assert taps_of(network) == {"stage1", "embedding"}
    found = outputs_of(network, paddle.to_tensor(IMAGES), ["stage1"])
    assert found["stage1"].shape == [4, 8, 8, 8]
    refused(Speaking, "has a method `outputs` and so names its taps itself", taps={"x": "body"})


def test_outputs_that_belie_the_forward_pass_are_refused():
    class Lies(Speaking):
        def outputs(self, images, taps):
            return {**super().outputs(images, taps), "logits": 2 * self.forward(images)}

    class Silent(Speaking):
        def outputs(self, images, taps):
            return {"logits": self.forward(images), "stage1": images}

    refused(Lies, "its `outputs` gives other logits than its forward pass")
    refused(Silent, "its `outputs` gives no 'embedding'")


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ({"x": "boddy.0"}, "taps.x: there is no layer boddy.0"),
        ({"logits": "fc"}, "taps.logits: logits are what the network returns"),
        ({"x": "a"}, "tap 'x': a is called 2 times in a forward pass; name a layer called once"),
        ({"x": "never"}, "tap 'x': never is not called in a forward pass; name a layer that is"),
        ({"x": "pair"}, "tap 'x': the output of pair is a tuple, not one tensor"),
        ({"x": "b"}, "tap 'x': the output of b is changed in place afterwards"),
        ({"classifier": "b"}, "b is changed in place afterwards"),
        ({"classifier": "never"}, "tap 'classifier': never is not called"),
    ],
)
def test_a_tap_that_cannot_be_had_is_refused_by_name(taps, message):
    refused(Twice, message, taps=taps)


def test_a_classifier_that_makes_something_else_is_refused():
    refused(Cnn, "stem does not make the logits", taps={"classifier": "stem"})


def test_no_classifier_is_guessed():
    network = own("Cnn", taps={"map": "pool"})
    assert classifier_of(network) is None
    assert taps_of(network) == {"map"}
    what = "Cnn: no tap 'embedding': the network does not say which layer makes its logits; name the layer with"
    with pytest.raises(RecipeError, match=re.escape(f"{what} taps: {{classifier: fc}}")):
        outputs_of(network, paddle.to_tensor(IMAGES), ["embedding"])
    with pytest.raises(RecipeError, match="Cnn: no tap 'mop'; did you mean 'map'"):
        outputs_of(network, paddle.to_tensor(IMAGES), ["mop"])
    with pytest.raises(RunError, match="train: head: Cnn does not say which layer makes its logits"):
        set_trainable(network, "head")
    with pytest.raises(RunError, match=re.escape("Cnn: a loss reads 'stage1', and this network gives logits alone")):
        outputs_of(own("Cnn", taps={}), paddle.to_tensor(IMAGES), ["stage1"])


def test_a_chain_as_classifier_is_told_from_a_layer():
    def chained(num_classes):
        network = sequence(num_classes)
        network.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, num_classes))
        network.tap_paths = {"classifier": "head"}
        return network

    network = make(chained)
    with pytest.raises(RunError, match="Net: a loss reads the weights of its classifier, and it does not say which"):
        weights_of(network, ["classifier"])
    assert len(set_trainable(network, "head")) == 2
    with pytest.raises(RunError, match="Net: a loss reads 'embedding'"):
        outputs_of(network, paddle.to_tensor(IMAGES), ["embedding"])
    assert taps_of(make(chained, {"classifier": "head.1"})) == {"embedding"}


def test_the_head_of_an_own_network_is_trained_alone():
    network = own("Vit")
    assert {id(p) for p in set_trainable(network, "head")} == {id(p) for p in network.classifier.parameters()}


@dataclass(frozen=True)
class Energy(Loss):
    """Reads a tap, the classifier's weights and the logits of a student."""

    reads: ClassVar = Reads(student={"logits", "embedding"}, weights={"student": {"classifier"}})

    def __call__(self, student, teacher, batch, helpers):
        made = student["embedding"] @ student.weights["classifier.weight"] + student.weights["classifier.bias"]
        return (made - 2 * student["logits"]).square().sum(axis=1)


@pytest.mark.parametrize("name", ["Cnn", "Vit"])
def test_a_step_in_data_parallel_reads_taps_of_an_own_network(name):
    network = own(name)
    step = Step(network, Objective({"energy": Term("energy", 1.0, Energy())}))
    batch = {"image": paddle.to_tensor(IMAGES), "label": paddle.arange(4), "step": 0, "epoch": 1}
    with pytest.warns(UserWarning, match="single-card"):
        parallel = paddle.DataParallel(step)
    (loss,), _, made = parallel(batch)
    loss.backward()
    np.testing.assert_allclose(loss.item(), made.square().sum(axis=1).mean().item(), rtol=1e-4)
    assert all(p.grad is not None for p in network.parameters() if p.trainable)


@pytest.mark.parametrize("name", ["Cnn", "Vit"])
def test_an_own_network_with_taps_can_be_traced(name):
    class WithTaps(nn.Layer):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, x):
            found = outputs_of(self.network, x, ["stage1", "embedding"])
            return [found["logits"], found["stage1"], found["embedding"]]

    whole = WithTaps(own(name))
    whole.eval()
    images = paddle.to_tensor(IMAGES)
    wanted = [value.numpy() for value in whole(images)]
    spec = [paddle.static.InputSpec([None, 3, SIZE, SIZE])]
    traced = paddle.jit.to_static(whole, input_spec=spec, full_graph=True)
    for value, other in zip(traced(images), wanted, strict=True):
        np.testing.assert_allclose(value.numpy(), other, atol=1e-5)


# --- what it costs


def test_parameters_and_macs_are_counted():
    width, tokens = 16, 17
    patches = 16 * 3 * width * 4 * 4
    block = tokens * width * (4 * width + 2 * 2 * width)  # four projections of the attention, two layers of the mlp
    params, macs = count(own("Vit"), SIZE)
    assert macs == patches + 2 * block + width * CLASSES
    assert params == sum(p.size for p in own("Vit").parameters())
    cnn, width = own("Cnn"), 8
    statistics = 3 * 2 * width
    assert count(cnn, SIZE)[0] == sum(p.size for p in cnn.parameters()) - statistics
    assert count(cnn, SIZE)[1] == 64 * (27 * width + 3 * 9 * width**2) + width * CLASSES


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv1D(4, 6, 3, groups=2), [1, 4, 10], 8 * 6 * 2 * 3),
        (nn.Conv3D(2, 3, 2), [1, 2, 4, 4, 4], 27 * 3 * 2 * 8),
        (nn.Conv2DTranspose(4, 6, 3, stride=2), [1, 4, 5, 5], 25 * 4 * 6 * 9),
        (nn.Conv1DTranspose(4, 6, 2, stride=2, groups=2), [1, 4, 5], 5 * 4 * 3 * 2),
        (nn.Conv3DTranspose(2, 3, 2, stride=2), [1, 2, 2, 2, 2], 8 * 2 * 3 * 8),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Layer) else "",
)
def test_every_kind_of_convolution_is_counted(layer, shape, macs):
    class Around(nn.Layer):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, images):
            return self.layer(x=paddle.ones(shape))

    assert count(Around(), 8) == (sum(p.size for p in layer.parameters()), macs)


# --- learning rates of stages, averages


def test_stage_rates_of_a_network_without_stages_are_refused_and_of_one_with_stages_taken():
    rates = Optim(lr=0.1, stage_lr=(0.1, 0.2, 0.3))
    wanted = "stages.x.optim.stage_lr: Vit has no layer `stem` and list of layers `stages`; leave stage_lr out"
    with pytest.raises(RunError, match=re.escape(wanted)):
        optim.check_stages(rates, own("Vit"), "stages.x")
    with pytest.raises(RunError, match="Cnn has no layer `stem` and list of layers `stages`"):
        optim.scale_rates(rates, own("Cnn"))

    class Staged(Cnn):
        @property
        def stages(self):
            return self.body

    network = make(Staged, depth=2)
    optim.scale_rates(rates, network)
    assert network.body[1][0].weight.optimize_attr["learning_rate"] == 0.3


def test_an_average_leaves_whole_numbers_as_they_are():
    network = own("Vit")
    average = optim.Average(network, 0.5)
    before = network.token.numpy().copy()
    network.token.set_value(before + 1)
    average.update(network, 100)
    np.testing.assert_allclose(average.state["token"].numpy(), before + 0.5, rtol=1e-5)
    np.testing.assert_array_equal(average.state["places"].numpy(), np.arange(17))


# --- weights


@pytest.mark.parametrize("suffix", ["safetensors", "pdparams"])
@pytest.mark.parametrize("name", MAKERS)
def test_weights_come_back_bit_for_bit(name, suffix, tmp_path):
    network, file = own(name), tmp_path / f"x.{suffix}"
    weights.save(network, file) if suffix == "safetensors" else paddle.save(network.state_dict(), str(file))
    other = own(name)
    for parameter in other.parameters():
        parameter.set_value(paddle.zeros_like(parameter))
    weights.load_into(other, file)
    assert logits(other).tobytes() == logits(network).tobytes()


def test_the_name_of_an_own_network_may_be_that_of_one_of_the_zoo(tmp_path):
    network = create_own(Cnn, "nets.py:ResNet18", num_classes=CLASSES, in_size=SIZE)
    weights.save(network, tmp_path / "x.safetensors")
    weights.load_into(network, tmp_path / "x.safetensors")
    weights.save(models.create("ResNet18", CLASSES, SIZE), tmp_path / "zoo.safetensors")
    with pytest.raises(WeightsError, match=r"not the weights of ResNet18: .* missing"):
        weights.load_into(network, tmp_path / "zoo.safetensors")


def test_weights_that_do_not_fit_are_refused_and_a_head_may_be_fresh(tmp_path, capsys):
    file = tmp_path / "x.safetensors"
    weights.save(create_own(Cnn, "nets.py:Cnn", num_classes=7, in_size=SIZE), file)
    network = own("Cnn")
    before = network.fc.weight.numpy().copy()
    with pytest.raises(
        WeightsError, match=r"2 arrays of another shape: fc.weight is \[8, 7\], the network has \[8, 5\]"
    ):
        weights.load_into(network, file)
    weights.load_into(network, file, fresh_head=True)
    assert "made for 7 classes; fresh for 5: fc.weight, fc.bias" in capsys.readouterr().err
    np.testing.assert_array_equal(network.fc.weight.numpy(), before)
    with pytest.raises(WeightsError, match="arrays of another shape"):
        weights.load_into(own("Cnn", width=12), file, fresh_head=True)
    with pytest.raises(WeightsError, match=r"not the weights of Vit: .*, the file was made for Cnn; check both"):
        weights.load_into(own("Vit"), file)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    weights.save({**state, "fc.bias": np.full(CLASSES, np.inf, "float32")}, file)
    with pytest.raises(WeightsError, match=r"fc\.bias holds values that are not finite"):
        weights.load_into(network, file)


# --- int8 and files

needs_slim = pytest.mark.skipif(not find_spec("paddleslim"), reason="of the extra int8")


def rounding(name):
    network = own(name)
    quantize.recalibrate(network, [IMAGES])
    network = quantize.quantise(network)
    quantize.calibrate(network, [IMAGES])
    return network


@needs_slim
@pytest.mark.parametrize("name", MAKERS)
def test_an_own_network_rounds_trains_and_has_a_float_twin(name):
    network = rounding(name)
    twin = quantize.float_twin(network)
    assert list(quantize.layers(twin)) == list(quantize.quantised(network)) == list(quantize.layers(own(name)))
    assert list(twin.state_dict()) == list(own(name).state_dict())
    assert [p.name for p in twin.parameters()] == [p.name for p in own(name).parameters()]
    assert 0 < np.abs(logits(network) - logits(twin)).max() < np.abs(logits(twin)).max()
    found = outputs_of(network, paddle.to_tensor(IMAGES), taps_of(network))
    exact = outputs_of(twin, paddle.to_tensor(IMAGES), taps_of(twin))
    assert {tap: found[tap].shape for tap in SHAPES[name]} == SHAPES[name]
    assert all(float((found[tap] - exact[tap]).abs().max()) > 0 for tap in SHAPES[name])
    key = {"Cnn": "stem.weight", "Vit": "token", "sequence": "conv.weight"}[name]
    before = twin.state_dict()[key]
    network.train()
    F.cross_entropy(network(paddle.to_tensor(IMAGES)), paddle.arange(4)).backward()
    with paddle.no_grad():
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.set_value(parameter - 0.1 * parameter.grad)
    after = quantize.float_twin(network).state_dict()[key]
    assert float((after - before).abs().max()) > 0, "the twin has the weights of the training, and shares none"


@needs_slim
@pytest.mark.parametrize("name", ["Cnn", "Vit"])
def test_the_classifier_of_a_rounding_network_is_the_layer_inside(name):
    network, plain = rounding(name), classifier_of(own(name))
    assert set(weights_of(network, ["classifier"])) == {"classifier.weight", "classifier.bias"}
    trained = {p.name for p in set_trainable(network, "head")}
    assert {p.name for p in own(name).parameters()} & trained == {p.name for p in plain.parameters()}


@needs_slim
def test_what_rounding_cannot_do_is_refused_and_a_layer_in_two_places_rounds_in_both():
    class Tied(Cnn):
        def __init__(self, num_classes):
            super().__init__(num_classes)
            self.again = self.body[0][0]

        def forward(self, x):
            return self.fc(self.pool(self.again(self.body(F.relu(self.stem(x))))).flatten(1))

    tied = make(Tied)
    plain = copy.deepcopy(tied)
    quantize.quantise(tied)
    assert tied.again is tied.body[0][0]
    quantize.calibrate(tied, [IMAGES])
    np.testing.assert_allclose(logits(quantize.float_twin(tied)), logits(plain), rtol=1e-5)
    hooked = own("Cnn")
    nn.utils.weight_norm(hooked.stem)
    with pytest.raises(RunError, match=r"quantize: the layer 'stem' of Cnn has hooks \(as of weight_norm\)"):
        quantize.quantise(hooked)
    with pytest.raises(RunError, match=r"quantize: no layer 'x' in Cnn"):
        quantize.quantise(own("Cnn"), keep=["x"])


CONTRACT = {
    "classes": CLASSES,
    "digest": "d" * 64,
    "input": {"size": SIZE, "resize": SIZE, "mean": [0.5] * 3, "std": [0.5] * 3},
}


def released(network, folder, formats):
    return release(
        network, folder, IMAGES, name=network.arch, contract={"arch": network.arch, **CONTRACT}, formats=formats
    )


@pytest.mark.parametrize(("name", "any_size"), [("Cnn", True), ("Vit", False)])
def test_an_own_network_leaves_through_the_gate(name, any_size, tmp_path):
    network = own(name)
    results = released(network, tmp_path / "x", ["paddle", "onnx"])
    assert set(results) == {"paddle", "onnx"}
    dynamic = contract.read(tmp_path / "x")["input"]["dynamic"]
    assert dynamic == (["batch", "height", "width"] if any_size else ["batch"])


@needs_exact_int8
@needs_slim
@pytest.mark.parametrize("name", ["Cnn", "Vit"])
def test_an_own_network_in_int8_leaves_as_int8(name, tmp_path):
    network = rounding(name)
    export_model(network, tmp_path / "x", name=name, contract={"arch": name, **CONTRACT}, formats=["int8"])
    wanted, twin = logits(network), logits(quantize.float_twin(network))
    gap = np.abs(ready("onnxruntime", precision="int8").load(tmp_path / "x")(IMAGES) - wanted).max()
    assert gap < 0.5 * np.abs(twin - wanted).max()
