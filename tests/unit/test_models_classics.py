"""AlexNet, VGG, SqueezeNet, DarkNet-53 and ACNet: what equal logits at the published size cannot show."""

import paddle
import pytest

from ssld import models
from ssld.errors import RecipeError
from tests.unit.stage_outputs import stages


@pytest.mark.parametrize(
    ("name", "smallest"), [("AlexNet", 63), ("SqueezeNet1_0", 35), ("SqueezeNet1_1", 29), ("VGG11", 32)]
)
def test_the_smallest_image_is_the_one_that_the_message_names(name, smallest):
    with pytest.raises(RecipeError, match=f"in_size {smallest - 1} leaves no pixel .*; give at least {smallest}$"):
        models.create(name, num_classes=2, in_size=smallest - 1)
    model = models.create(name, num_classes=2, in_size=smallest)
    assert model(paddle.randn([1, 3, smallest, smallest])).shape == [1, 2]


@pytest.mark.parametrize(
    ("name", "size", "taps"),
    [
        ("AlexNet", 224, [[64, 27], [192, 13], [256, 6]]),
        ("VGG11", 64, [[64, 32], [128, 16], [256, 8], [512, 4], [512, 2]]),
        ("SqueezeNet1_0", 224, [[256, 54], [512, 26], [512, 12]]),
        ("SqueezeNet1_1", 224, [[128, 55], [256, 27], [512, 13]]),
        ("DarkNet53", 64, [[64, 32], [128, 16], [256, 8], [512, 4], [1024, 2]]),
        ("ResNet50_ACNet_deploy", 64, [[256, 16], [512, 8], [1024, 4], [2048, 2]]),
    ],
)
def test_stages_end_where_the_resolution_changes(name, size, taps):
    model = models.create(name, num_classes=2, in_size=size)
    with paddle.no_grad():
        features = stages(model, paddle.randn([1, 3, size, size]))
    assert [feature.shape[1:3] for feature in features.values()] == taps


@pytest.mark.parametrize(("name", "first", "width"), [("AlexNet", "fc6", 256), ("VGG11", "fc1", 512)])
@pytest.mark.parametrize(("size", "side"), [(64, {"AlexNet": 1, "VGG11": 2}), (128, {"AlexNet": 3, "VGG11": 4})])
def test_the_first_linear_layer_has_a_weight_for_every_pixel(name, first, width, size, side):
    with paddle.LazyGuard():
        head = models.create(name, num_classes=2, in_size=size).head
    assert getattr(head, first).weight.shape == [width * side[name] ** 2, 4096]


@pytest.mark.parametrize(
    ("name", "drops"), [("AlexNet", ["drop6", "drop7"]), ("VGG11", ["drop1", "drop2"]), ("SqueezeNet1_1", ["drop"])]
)
def test_dropout_halves_features_in_evaluation_and_does_not_scale_what_training_keeps(name, drops):
    head = models.create(name, num_classes=2, in_size=64).head
    for drop in (getattr(head, layer) for layer in drops):
        assert set(drop(paddle.ones([1, 1000]))[0].tolist()) == {0.0, 1.0}
        drop.eval()
        assert set(drop(paddle.ones([1, 1000]))[0].tolist()) == {0.5}


def test_the_linear_layers_of_alexnet_all_start_within_the_bound_of_the_first():
    head = models.create("AlexNet", num_classes=1000).head
    for layer in (head.fc6, head.fc7, head.fc8):
        for start in (layer.weight, layer.bias):
            assert 0.9 < 96 * float(start.abs().max()) < 1.001  # 96 = sqrt(256 channels x 6 x 6 pixels)


def test_squeezenet_has_no_negative_logit():
    model = models.create("SqueezeNet1_1", num_classes=50, in_size=64)
    logits = model(paddle.randn([4, 3, 64, 64]))
    assert float(logits.min()) >= 0 < float(logits.max())


def test_a_deployed_asymmetric_block_is_a_biased_convolution_and_normalises_nothing():
    model = models.create("ResNet50_ACNet_deploy", num_classes=2)
    fused = [model.stem[0], *(block.body[1] for stage in model.stages for block in stage)]
    assert len(fused) == 17
    for layers in fused:
        assert [name for name, _ in layers.named_children()] == ["conv", "act"]
        assert layers.conv.bias is not None
