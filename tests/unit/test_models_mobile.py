"""MobileNetV1, MobileNetV2, ShuffleNetV2 and GhostNet: what their recorded outputs do not show."""

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.models.shufflenet_v2 import interleave
from tests.unit.stage_outputs import stages


@pytest.mark.parametrize(("revision", "width", "millions"), [("1.x", 224, 7.367), ("2.x", 244, 7.394)])
def test_the_first_stage_of_the_widest_shufflenet_was_narrower_in_1_x(revision, width, millions):
    model = models.create("ShuffleNetV2_x2_0", revision=revision)
    model.eval()
    features = stages(model, paddle.zeros([1, 3, 32, 32]))
    assert [tap.shape[1] for tap in features.values()] == [width, 488, 976]
    assert round(models.count(model, 32)[0] / 1e6, 3) == millions


def test_dropout_of_ghostnet_scales_features_in_evaluation_in_1_x_only():
    new, old = (models.create("GhostNet_x0_5", num_classes=5, revision=revision) for revision in ("2.x", "1.x"))
    assert not old.set_state_dict(new.state_dict())[0]
    features = paddle.rand([2, 80, 1, 1])
    new.eval(), old.eval()
    np.testing.assert_allclose(old.head(features).numpy(), 0.8 * new.head(features).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "filters", "filter_spread", "last_spread"),
    [
        ("MobileNetV1", lambda model: model.stages[4][1].filter, (2 / 9) ** 0.5, (2 / 1024) ** 0.5),
        ("MobileNetV2", lambda model: model.stages[4][1].filter, (2 / 9 / 960) ** 0.5, (2 / 2280) ** 0.5),
        ("ShuffleNetV2", lambda model: model.stages[2][0].body[1], (2 / 9) ** 0.5, (2 / 2024) ** 0.5),
        ("GhostNet_x1_0", lambda model: model.stages[4][0].filter, (2 / 25) ** 0.5, (1 / 3 / 1280) ** 0.5),
    ],
)
def test_depthwise_filters_and_the_last_layer_start_as_widely_as_in_published_training(
    name, filters, filter_spread, last_spread
):
    paddle.seed(0)
    model = models.create(name)
    assert filters(model).conv.weight.std().item() == pytest.approx(filter_spread, rel=0.05)
    assert model.head.fc.weight.std().item() == pytest.approx(last_spread, rel=0.05)


def test_interleave_takes_channels_in_turn_in_eager_and_in_traced_execution():
    a, b = paddle.randn([2, 3, 4, 5]), paddle.randn([2, 3, 4, 5])
    traced = paddle.jit.to_static(interleave, full_graph=True)
    for found in (interleave(a, b), traced(a, b)):
        assert bool((found[:, 0::2] == a).all())
        assert bool((found[:, 1::2] == b).all())
    program = traced.concrete_program.main_program
    names = [operation.name() for operation in program.global_block().ops]
    assert "pd_op.stack" in names
    assert "pd_op.channel_shuffle" not in names  # the ONNX converter aborts on it


def test_a_shuffle_block_passes_the_first_half_of_its_channels_on_untouched():
    block = models.create("ShuffleNetV2_x0_25").stages[0][1]
    x = paddle.randn([2, 24, 4, 4])
    assert bool((block(x)[:, 0::2] == x[:, :12]).all())


@pytest.mark.parametrize("name", ["MobileNetV1_x0_25", "MobileNetV2_x0_25", "ShuffleNetV2_x0_25", "GhostNet_x0_5"])
@pytest.mark.parametrize("size", [1, 28])
def test_small_images_classify(name, size):
    model = models.create(name, num_classes=3, in_size=size)
    model.eval()
    assert model(paddle.randn([2, 3, size, size])).shape == [2, 3]
