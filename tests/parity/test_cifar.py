"""The networks of the literature against their official code: entries, names, logits, and every feature point.

`data/cifar.npz` was made by running HobbitLong/RepDistiller (commit eedab9d) in PyTorch with weights that follow from
the name and the shape of an entry alone (`drawn`): of one image the logits of 100 classes, every eighth number of the
pooled vector, and of each feature map after the stem its mean, mean size, deviation and 13 of its values, as the code
gives it (`post`) and as its option `preact` does (`pre`). `data/cifar.json.gz` holds its entries and parameters.
"""

import gzip
import json
import zlib
from functools import cache

import numpy as np
import paddle
import pytest

from ssld import create_model, models
from ssld.config import cards
from ssld.errors import RecipeError
from ssld.weights.recognise import shapes
from tests.parity.reference import DATA

SPECS = json.loads(gzip.decompress((DATA / "cifar.json.gz").read_bytes()))
SMALL = {"resnet20", "resnet8x4", "wrn_16_1", "wrn_16_2", "vgg8", *(name for name in SPECS if "Net" in name)}
EVERY = [arch if arch in SMALL else pytest.param(arch, marks=pytest.mark.zoo) for arch in SPECS]


@cache
def official():
    with np.load(DATA / "cifar.npz") as file:
        return dict(file)


def drawn(key, shape):
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("running_var"):
        array = rng.uniform(0.5, 1.5, shape)
    elif len(shape) > 1:
        array = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
    else:
        array = rng.uniform(0.2, 0.6, shape) if key.endswith("weight") else rng.normal(0, 0.1, shape)
    return array.astype("float32")


def image():
    return np.random.default_rng(32).normal(size=(1, 3, 32, 32)).astype("float32")


def test_every_network_for_small_images_is_compared():
    assert (
        set(cards.unpublished())
        == set(SPECS)
        == set(models.names()) - {arch for arch, card in cards.all_students().items() if card.published}
    )


@pytest.mark.parametrize("arch", SPECS)
def test_entries_names_and_parameters_are_those_of_the_official_code(arch):
    own, names = shapes(arch, 100, "2.x"), models.keymap(arch)
    linear = {name for name, key in names.items() if len(own[key]) == 2}
    entries = {name: list(own[key])[:: -1 if name in linear else 1] for name, key in names.items()}
    assert entries == SPECS[arch]["keys"]
    assert cards.find_student(arch).params == SPECS[arch]["params"]


@pytest.mark.parametrize("arch", EVERY)
def test_logits_and_feature_points_are_those_of_the_official_code(arch):
    network = create_model(arch)
    assert (network.num_classes, network.in_size) == (100, 32)
    network.eval()
    state, names = network.state_dict(), models.keymap(arch)
    for name, shape in SPECS[arch]["keys"].items():
        array = drawn(name, tuple(shape))
        state[names[name]].set_value(array.T if len(shape) == 2 else array)
    with paddle.no_grad():
        found = {
            name: value.numpy() for name, value in network.outputs(paddle.to_tensor(image()), network.taps).items()
        }
    close(found["logits"][0], official()[f"{arch}.logits"])
    close(found["embedding"].ravel()[::8], official()[f"{arch}.embedding"])
    compared = set()
    for key, wanted in official().items():
        name, _, point = key.partition(".")
        if name == arch and point[:-1] in ("post", "pre"):
            tap = tap_of(network, point[:-1], point[-1])
            if tap:
                close(digest(found[tap]), wanted)
                compared.add(tap)
    wide = arch.startswith("wrn")
    assert compared == {tap for tap in network.taps if tap.startswith("stage") and (not wide or "." in tap)}


def tap_of(network, point, number):
    """The tap that shows a feature point: of wide networks the sum, which is what their code calls the feature."""
    names = {"post": (f"stage{number}.sum", f"stage{number}"), "pre": (f"stage{number}.pre",)}[point]
    return next((name for name in names if name in network.taps), None)


def digest(values):
    flat = values.astype("float64").ravel()
    return np.array([flat.mean(), np.abs(flat).mean(), flat.std(ddof=1), *flat[:: max(1, flat.size // 13)][:13]])


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_they_start_as_in_their_own_code():
    paddle.seed(0)
    network = create_model("resnet32x4")
    first = network.stages[2][0].body[0].conv.weight  # 256 filters of 3x3 over 128 channels
    assert first.numpy().std() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert float(network.classifier.weight.abs().max()) <= 256**-0.5
    shuffle = create_model("ShuffleNetV2_cifar")
    assert float(shuffle.head.mix.conv.weight.abs().max()) == pytest.approx(464**-0.5, rel=0.01)
    assert float(shuffle.classifier.bias.abs().max()) == pytest.approx(1024**-0.5, rel=0.1)


def test_a_wide_network_has_sums_and_says_which_taps_there_are():
    network = create_model("wrn_16_1")
    images = paddle.to_tensor(image())
    network.eval()
    found = network.outputs(images, ["stage2.sum", "stage2"])
    assert set(found) == {"stage2.sum", "stage2", "logits"}
    assert float(found["stage2.sum"].min()) < 0 <= float(found["stage2"].min())
    with pytest.raises(RecipeError, match="no tap 'stage4'"):
        network.outputs(images, ["stage4"])
