"""HRNet, DPN and DenseNet: what is tapped of many paths, maps of odd size, the smallest input, a fresh head."""

import paddle
import pytest
from paddle.nn.functional import relu

from ssld import models
from ssld.errors import RecipeError
from ssld.models.hrnet import Exchange
from tests.unit.stage_outputs import stages


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("HRNet_W18_C", [256, 36, 72, 144]),  # of each stage the branch that starts there
        ("DPN68", [64 + 5 * 16, 128 + 6 * 32, 256 + 14 * 32, 512 + 5 * 64]),  # both paths
        ("DenseNet121", [256, 512, 1024, 1024]),  # before the transition that halves them
    ],
)
def test_a_tap_is_one_tensor_at_half_the_resolution_of_the_one_before(name, widths):
    model = models.create(name, num_classes=2)
    model.eval()
    with paddle.no_grad():
        taps = stages(model, paddle.zeros([1, 3, 64, 64]))
    expected = [[1, width, size, size] for width, size in zip(widths, (16, 8, 4, 2), strict=True)]
    assert [tap.shape for tap in taps.values()] == expected


def test_branches_of_odd_size_keep_it_and_are_enlarged_to_nearest_neighbours():
    exchange, xs = Exchange([2, 4]), [paddle.randn([1, 2, 3, 3]), paddle.randn([1, 4, 2, 2])]
    exchange.eval()
    high, low = exchange.branches(xs)
    enlarged = exchange.paths[0][1](low)[:, :, [0, 0, 1]][:, :, :, [0, 0, 1]]
    found = exchange(xs)
    assert [x.shape for x in found] == [x.shape for x in xs]
    assert bool((found[0] == relu(high + enlarged)).all())


def test_densenet_takes_29_pixels_and_refuses_28():
    with pytest.raises(RecipeError, match="model densenet: in_size 28 leaves no pixel to stage 4; give at least 29"):
        models.create("DenseNet121", in_size=28)
    model = models.create("DenseNet121", num_classes=2, in_size=29)
    assert model(paddle.zeros([2, 3, 29, 29])).shape == [2, 2]


def test_the_linear_layer_of_a_dpn_starts_within_a_hundredth():
    largest = models.create("DPN68", num_classes=10).head.fc.weight.abs().max().item()
    assert 0.009 < largest <= 0.01
