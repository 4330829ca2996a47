"""ResNeXt, SE networks and Res2Net: what the recorded outputs of the reference at 224 pixels do not show."""

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.models.layers import PooledLinear
from tests.unit.stage_outputs import stages


@pytest.mark.parametrize(
    ("name", "kept"), [("SE_ResNeXt50_32x4d", 0.5), ("SE_ResNeXt101_32x4d", 0.5), ("SENet154_vd", 0.8)]
)
def test_only_the_1x_revision_scales_the_pooled_features_in_evaluation(name, kept):
    with paddle.LazyGuard():
        old, new = models.create(name, revision="1.x"), models.create(name)
    old.head.drop.eval()
    assert old.head.drop(paddle.ones([1, 1])).item() == pytest.approx(kept)
    assert "drop" not in dict(new.head.named_children())


def test_dropout_of_a_head_stands_between_the_average_and_the_linear_layer():
    head, features = PooledLinear(4, 3, dropout=0.5), paddle.randn([2, 4, 5, 5])
    head.fc.bias.set_value(np.float32([1, 2, 3]))  # not to be scaled
    head.eval()
    expected = 0.5 * features.numpy().mean((2, 3)) @ head.fc.weight.numpy() + [1, 2, 3]
    np.testing.assert_allclose(head(features).numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["SE_ResNet18_vd", "Res2Net50_vd_26w_4s"])
def test_body_and_shortcut_agree_on_maps_of_odd_size(name):
    model = models.create(name, num_classes=2, in_size=75)
    model.eval()
    with paddle.no_grad():
        taps = stages(model, paddle.randn([1, 3, 75, 97]))
    assert [tap.shape[2:] for tap in taps.values()] == [[19, 25], [10, 13], [5, 7], [3, 4]]


def test_gates_and_heads_start_uniform_within_one_over_the_root_of_their_inputs():
    model = models.create("SE_ResNet18_vd")
    gate = model.stages[3][1].body.gate
    for layer, width_in in ((gate.squeeze, 512), (gate.excite, 32), (model.head.fc, 512)):
        bound, weight = width_in**-0.5, layer.weight.numpy()
        assert 0.99 * bound < np.abs(weight).max() <= bound
        assert weight.std() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert not layer.bias.numpy().any()
