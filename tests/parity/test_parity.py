"""Networks against the reference: entries, shapes, published names, logits."""

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.config import cards
from ssld.weights.recognise import shapes
from tests.parity.reference import EVERY, image, logits, one_of_each_series, reference, rescaled, weights, zoo

TOLERANCE = 1e-4  # of the largest |logit|; rounding alone gives 1e-6, in the deepest networks 3e-5


def test_the_zoo_is_the_116_networks_of_the_reference():
    published = {arch for arch, card in cards.all_students().items() if card.published}
    assert published == set(reference()) == set(zoo())


@pytest.mark.parametrize("arch", zoo())
def test_entries_and_shapes_are_those_of_the_reference(arch):
    spec, own = reference()[arch], shapes(arch, 1000, "2.x")
    assert {name: list(own[key]) for name, key in models.keymap(arch).items()} == spec["keys"]
    counted = sum(np.prod(shape) for key, shape in own.items() if not key.endswith(("._mean", "._variance")))
    assert counted == spec["params"]


@pytest.mark.parametrize("arch", zoo())
def test_every_published_name_is_reproduced(arch):
    """The three flavours agree on which entry of ours a row means; no name is missing and none invented."""
    rows, own = reference()[arch]["names"], shapes(arch, 1000, "1.x" if models.revised(arch) else "2.x")
    static, two = models.keymap(arch, "static", "1.x"), models.keymap(arch, "2.0", "1.x")
    develop = models.keymap(arch)
    assert set(static) == {row[0] for row in rows}
    for variable, key_2_0, key, shape in rows:
        assert list(own[static[variable]]) == shape, variable
        assert key_2_0 is None or two[key_2_0] == static[variable], key_2_0
        assert key is None or develop[key] == static[variable], key


@pytest.mark.parametrize("arch", one_of_each_series())
def test_logits_are_those_of_the_reference(arch):
    wanted = logits(arch)
    if not wanted:
        pytest.skip("no logits of the reference are kept for this network")
    model = models.create(arch)
    model.eval()
    state, names, drawn = model.state_dict(), models.keymap(arch), weights(arch)
    for rule, arrays in (("A", drawn), ("B", rescaled(arch, drawn))):
        for name, array in arrays.items():
            state[names[name]].set_value(array)
        for size in sorted({size for kind, size, _ in wanted if kind == rule}):
            found = outputs(model, size)
            for number, output in enumerate(found):
                expected = wanted[rule, size, number]
                np.testing.assert_allclose(output[::EVERY], expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def outputs(model, size):
    """Of every head the logits of the one image, float32 [1000]."""
    heads = getattr(model, "heads", lambda images: [model(images)])
    with paddle.no_grad():
        return [output.numpy()[0] for output in heads(paddle.to_tensor(image(size)))]
