"""ResNeSt and RegNet: what the weights of 1.x hold, split attention, maps of odd size."""

import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.models.resnest import SplitAttention
from tests.unit.stage_outputs import stages


@pytest.mark.parametrize(
    ("name", "owner", "biases"),
    [
        ("ResNeSt50", ".attend.excite", (0, 16)),
        ("ResNeSt50_fast_1s1x64d", ".attend.excite", (0, 16)),
        ("RegNetX_4GF", ".conv", (74, 0)),
    ],
)
def test_the_revisions_differ_in_biases_of_convolutions_alone(name, owner, biases):
    with paddle.LazyGuard():
        old, new = (set(models.create(name, revision=revision).state_dict()) for revision in ("1.x", "2.x"))
    assert (len(old - new), len(new - old)) == biases
    assert all(key.endswith(f"{owner}.bias") for key in old ^ new)


@pytest.mark.parametrize("radix", [1, 2])
def test_without_preference_split_attention_takes_half_of_a_single_split_and_the_mean_of_two(radix):
    layer, x = SplitAttention(8, radix, bias=True), paddle.randn([2, 8, 5, 5])
    layer.eval()
    layer.excite.weight.set_value(paddle.zeros_like(layer.excite.weight))
    splits = layer.splits(x).chunk(radix, axis=1)
    assert bool(paddle.allclose(layer(x), 0.5 * sum(splits), atol=1e-6))


def test_split_attention_prefers_the_split_that_the_bias_names_channel_by_channel():
    layer, x = SplitAttention(8, 2, bias=True), paddle.randn([2, 8, 5, 5])
    layer.eval()
    layer.excite.weight.set_value(paddle.zeros_like(layer.excite.weight))
    layer.excite.bias.set_value(paddle.to_tensor([50.0] * 3 + [-50.0] * 5 + [0.0] * 8))
    first, second = layer.splits(x).chunk(2, axis=1)
    assert bool(paddle.allclose(layer(x), paddle.concat([first[:, :3], second[:, 3:]], axis=1), atol=1e-6))


@pytest.mark.parametrize(("name", "before"), [("ResNeSt50_fast_1s1x64d", True), ("ResNeSt50", False)])
def test_the_pool_strides_before_or_after_split_attention_and_not_in_stage_1(name, before):
    with paddle.LazyGuard():
        bodies = [stage[0].body for stage in models.create(name).stages]
    middles = [[key for key, _ in body.named_children()][1:-1] for body in bodies]
    assert middles == [["attend"], *[["pool", "attend"] if before else ["attend", "pool"]] * 3]
    assert all(conv._stride == [1, 1] for body in bodies for conv in body.sublayers() if isinstance(conv, nn.Conv2D))


@pytest.mark.parametrize("name", ["ResNeSt50_fast_1s1x64d", "ResNeSt50"])
def test_resnest_takes_maps_of_odd_size(name):
    model = models.create(name, 10)
    model.eval()
    assert [tap.shape[2:] for tap in stages(model, paddle.randn([1, 3, 100, 67])).values()] == [
        [25, 17],
        [13, 9],
        [7, 5],
        [4, 3],
    ]
