"""Taps: what a network gives beside its logits, of every series by its smallest network, of the others with `zoo`."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.config import cards
from ssld.distill.state import set_trainable
from ssld.distill.step import weights_of
from ssld.errors import RecipeError, RunError
from ssld.models.taps import is_linear

SMALLEST = {"inception_v3": 75, "inception_v4": 75, "googlenet": 64, "alexnet": 64, "vgg": 32, "squeezenet": 64}
LINEAR_BOTTLENECKS = {"mobilenet_v2", "mobilenet_v2_cifar", "mobilenet_v3", "ghostnet", "efficientnet"}
PRE_ACTIVATION = {"densenet", "dpn"}
OTHERWISE = {
    "vgg",
    "alexnet",
    "darknet",
    "shufflenet_v2",
    "shufflenet_v2_cifar",
}  # a pool, a sum, or a shuffle ends their stages


def parameters():
    found, seen = [], set()
    by_cost = sorted(cards.all_students().values(), key=lambda card: card.params)
    for card in by_cost:
        mark = [pytest.mark.zoo] if card.series in seen else []
        seen.add(card.series)
        found.append(pytest.param(card.arch, marks=mark, id=card.arch))
    return found


@pytest.fixture(scope="module")
def made():
    """A function from an architecture to (network, images): 7 classes, small images, batch norms with statistics."""
    last: dict = {}

    def network(arch):
        if arch not in last:
            last.clear()
            paddle.seed(0)
            size = SMALLEST.get(models.series(arch), 64)
            net = models.create(arch, num_classes=7, in_size=size)
            images = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 3, size, size)).astype("float32"))
            last[arch] = (net, images)
        return last[arch]

    return network


@pytest.fixture(scope="module", params=parameters())
def arch(request):
    """One network of each series; as the fixture is of the module, the tests of a network follow each other."""
    return request.param


def ends_in_activation(arch):
    return not {models.series(arch)} & (LINEAR_BOTTLENECKS | PRE_ACTIVATION | OTHERWISE)


def test_taps_have_the_same_names_everywhere_and_are_those_of_the_forward_pass(arch, made):
    network, images = made(arch)
    network.eval()
    with paddle.no_grad():
        logits, found = network(images), network.outputs(images, network.taps)
    assert list(found) == [*network.taps, "logits"]
    assert found["logits"].numpy().tobytes() == logits.numpy().tobytes()
    stages = [f"stage{number + 1}" for number in range(len(network.stages))]
    assert set(stages) <= set(network.taps)
    sizes = [found[name].shape[2] for name in stages]
    assert all(found[name].ndim == 4 for name in [*stages, "map"])
    assert sorted(sizes, reverse=True) == sizes
    if "embedding" in network.taps:
        assert found["embedding"].ndim == 2
        assert network.classifier(found["embedding"]).numpy().tobytes() == logits.numpy().tobytes()
    else:
        assert not is_linear(network.classifier)
    pre = [name for name in stages if f"{name}.pre" in network.taps]
    assert (pre == stages) == ends_in_activation(arch) or models.series(arch).startswith("xception")
    for name in pre:
        before, after = found[f"{name}.pre"].numpy(), found[name].numpy()
        assert (before < 0).any()
        assert after.min() >= (0 if after[before < -4].size == 0 else after[before < -4].min())
        if after.min() == 0:  # a ReLU
            np.testing.assert_array_equal(after, np.maximum(before, 0) if after.max() != 6 else after)


@pytest.mark.parametrize("arch", ["ResNet18_vd", "MobileNetV3_small_x0_35", "HRNet_W18_C", "VGG11", "EfficientNetB0"])
def test_the_logits_beside_taps_are_those_of_a_training_step_too(arch, made):
    network, images = made(arch)
    network.train()
    wanted = []
    for ask in (lambda: network(images), lambda: network.outputs(images, network.taps)["logits"]):
        paddle.seed(5)  # of dropout
        wanted.append(ask().numpy().tobytes())
    assert wanted[0] == wanted[1]


@pytest.mark.parametrize("arch", ["ResNet18_vd", "DenseNet121", "MobileNetV1_x0_25", "Res2Net50_26w_4s", "GoogLeNet"])
def test_the_pooled_map_is_the_embedding(arch, made):
    network, images = made(arch)
    network.eval()
    found = network.outputs(images, ["map", "embedding"])
    scale = 0.6 if arch == "GoogLeNet" else 1.0  # its published dropout shrinks features in an evaluation
    pooled = found["map"].mean([2, 3]).numpy() * scale
    np.testing.assert_allclose(pooled, found["embedding"].numpy(), atol=1e-5 * np.abs(pooled).max())


NORMS = {  # which stages have one batch norm before their last activation
    "ResNet18": [1, 2, 3, 4],
    "ResNet50_vd": [1, 2, 3, 4],
    "RegNetX_4GF": [1, 2, 3, 4],
    "ResNeSt50": [1, 2, 3, 4],
    "MobileNetV1_x0_25": [1, 2, 3, 4, 5],
    "HRNet_W18_C": [1],  # later stages end in sums of branches
    "SE_ResNet18_vd": [],  # a gate comes after the batch norm
    "InceptionV3": [],  # several, side by side
    "SqueezeNet1_1": [],
    "VGG11": [],
    "MobileNetV3_small_x0_35": [],  # no activation ends its stages
    "DenseNet121": [],
}


@pytest.mark.parametrize("arch", NORMS)
def test_norms_are_those_that_make_what_enters_the_last_activation(arch, made):
    network, images = made(arch)
    network.eval()
    norms = network.norms
    assert list(norms) == [f"stage{number}" for number in NORMS[arch]]
    taps = [f"{stage}.pre" for stage in norms]
    with paddle.no_grad():
        for tap, norm in reversed(list(zip(taps, norms.values(), strict=True))):  # a shift changes what comes after it
            before = network.outputs(images, [tap])[tap]
            moved = paddle.arange(1, before.shape[1] + 1).astype("float32")
            norm.bias.set_value(norm.bias + moved)
            gap = network.outputs(images, [tap])[tap] - before
            norm.bias.set_value(norm.bias - moved)
            wanted = moved.reshape([1, -1, 1, 1]).expand_as(gap)
            np.testing.assert_allclose(gap.numpy(), wanted.numpy(), rtol=1e-3, atol=1e-3)


def test_training_the_head_frees_the_classifier_alone_and_reaches_it(arch, made):
    network, images = made(arch)
    network.eval()
    freed = set_trainable(network, "head")
    assert {id(p) for p in freed} == {id(p) for p in network.classifier.parameters()}
    network(images).square().sum().backward()
    assert all(p.grad is not None for p in freed)
    network.clear_gradients()
    set_trainable(network, "all")
    for parameter in network.parameters():
        parameter.stop_gradient = False


def test_layers_that_the_logits_do_not_depend_on_are_not_trained(made):
    network, images = made("GoogLeNet")
    freed = {id(p) for p in set_trainable(network, "all")}
    assert freed
    assert not freed & {id(p) for layer in network.auxiliary for p in layer.parameters()}
    network.train()
    network(images).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if id(p) in freed)


def test_of_several_taps_that_a_network_does_not_give_the_first_by_name_is_told(made):
    names = frozenset({f"{letter}_tap" for letter in "qwertyuiopasdfghjklzxcvbnm"})
    network, images = made("ResNet18_vd")
    with pytest.raises(RecipeError, match="no tap 'a_tap'"):
        models.outputs_of(network, images, names)
    with pytest.raises(RunError, match="reads the weights of its a_tap, and"):
        weights_of(network, names)


@pytest.mark.parametrize(
    ("arch", "tap", "message"),
    [
        (
            "ResNet18_vd",
            "stage5",
            r"model ResNet18_vd: no tap 'stage5'; did you mean 'stage\d'\?; it gives stage1\.pre, ",
        ),
        (
            "MobileNetV3_small_x0_35",
            "stage3.pre",
            "no tap 'stage3.pre': that stage does not end in an activation; it gives ",
        ),
        ("DenseNet121", "stage1.pre", "that stage does not end in an activation"),
        ("SqueezeNet1_1", "embedding", "model SqueezeNet1_1: no tap 'embedding'"),
    ],
)
def test_a_network_that_cannot_give_a_tap_says_so(arch, tap, message, made):
    network, images = made(arch)
    with pytest.raises(RecipeError, match=message):
        network.outputs(images, [tap])


class WithTaps(nn.Layer):
    """What an export of a teacher with taps is."""

    def __init__(self, network, taps):
        super().__init__()
        self.network, self.names = network, taps

    def forward(self, x):
        found = self.network.outputs(x, self.names)
        return [found[name] for name in ("logits", *self.names)]


@pytest.mark.parametrize("arch", ["ResNet18_vd", pytest.param("HRNet_W18_C", marks=pytest.mark.zoo), "InceptionV3"])
def test_a_network_with_taps_can_be_traced(arch, made):
    network, images = made(arch)
    network.eval()
    taps = [network.taps[0], "map", "embedding"]
    whole = WithTaps(network, taps)
    wanted = [value.numpy() for value in whole(images)]
    traced = paddle.jit.to_static(
        whole, input_spec=[paddle.static.InputSpec([None, *images.shape[1:]])], full_graph=True
    )
    with paddle.no_grad():
        values = traced(images)
    for value, other in zip(values, wanted, strict=True):
        np.testing.assert_allclose(value.numpy(), other, atol=1e-4 * max(1, np.abs(other).max()))
