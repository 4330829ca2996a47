"""What every network of the zoo promises: names, taps, small inputs, two in one process."""

import numpy as np
import paddle
import pytest

from ssld import models
from ssld.errors import RecipeError
from ssld.models.base import Family
from ssld.models.resnet import Basic, ResNet
from tests.unit.stage_outputs import stages

TRAINED = [("ResNet18", 28), ("ResNet50_vc", 28), ("ResNet18_vd", 28), ("MobileNetV3_small_x0_35", 28)]
TRAINED += [("ResNet18_vd", 32), ("MobileNetV3_large_x0_35", 32)]


def test_published_names_follow_the_files():
    assert models.keymap("ResNet50")["blocks.3.short.bn._mean"] == "stages.1.0.shortcut.bn._mean"
    assert models.keymap("ResNet50_vc")["bb_1_0.conv2._batch_norm.bias"] == "stages.1.0.body.2.bn.bias"
    assert models.keymap("ResNeXt101_32x8d_wsl")["_conv3_22._conv1._conv.weight"] == "stages.2.22.body.1.conv.weight"
    assert models.keymap("MobileNetV3_large_x1_0")["blocks.14.mid_se.conv2.bias"] == "stages.4.2.gate.excite.bias"


@pytest.mark.parametrize(("name", "size"), TRAINED)
def test_small_images_and_ten_classes_train(name, size):
    model = models.create(name, num_classes=10, in_size=size)
    logits = model(paddle.randn([2, 3, size, size]))
    assert logits.shape == [2, 10]
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if not p.stop_gradient)
    assert (model.arch, model.num_classes, model.in_size) == (name, 10, size)


@pytest.mark.parametrize(
    ("name", "taps"),
    [
        ("ResNet18_vd", [[64, 8], [128, 4], [256, 2], [512, 1]]),
        ("MobileNetV3_large_x1_0", [[16, 16], [24, 8], [40, 4], [112, 2], [160, 1]]),
    ],
)
def test_features_taps_every_stage_and_the_head_reads_the_last(name, taps):
    model, images = models.create(name, num_classes=5), paddle.randn([1, 3, 32, 32])
    model.eval()
    features = stages(model, images)
    assert list(features) == [f"stage{n}" for n in range(1, len(taps) + 1)]
    assert [[f.shape[1], f.shape[2]] for f in features.values()] == taps
    assert bool((model(images) == model.head(features[f"stage{len(taps)}"])).all())


def test_two_networks_in_one_process_share_no_parameter_name():
    student, teacher = models.create("ResNet18", 10), models.create("ResNet34", 10)
    names = [p.name for p in [*student.parameters(), *teacher.parameters()]]
    assert len(set(names)) == len(names)


def test_parameter_names_do_not_depend_on_what_was_made_before():
    first = [p.name for p in models.create("MobileNetV3_small_x0_35").parameters()]
    assert [p.name for p in models.create("MobileNetV3_small_x0_35").parameters()] == first


def test_count_keeps_the_modes_of_the_layers():
    model = models.create("ResNet18", 10)
    model.stages[0].eval()
    before = [layer.training for layer in model.sublayers(include_self=True)]
    params, macs = models.count(model, 32)
    assert [layer.training for layer in model.sublayers(include_self=True)] == before
    assert params == 11_693_736 - 990 * 513  # 990 classes fewer: a weight column of 512 and a bias each
    assert macs == (1_826_918_400 - 512_000) // 49 + 5_120  # 224 = 7 x 32: every map has 49 times fewer pixels


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"no model named 'ResNet50vd'; did you mean 'ResNet50_vd'\?"):
        models.create("ResNet50vd")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clases": 3}, r"model 'ResNet18': no option 'clases'; did you mean 'num_classes'\?"),
        ({"num_classes": 0}, "num_classes is 0; give a whole number from 1 up"),
        ({"in_size": 2.5}, "in_size is 2.5; give a whole number from 1 up"),
    ],
)
def test_an_option_that_does_not_hold_is_one_line(options, message):
    with pytest.raises(RecipeError, match=message):
        models.create("ResNet18", **options)


def test_a_variant_cannot_be_registered_twice():
    with pytest.raises(RecipeError, match="model 'ResNet18': registered by resnet and copy; rename one"):
        Family("copy", ResNet, variants={"ResNet18": dict(block=Basic, depths=(1, 1, 1, 1))}, rename=[])


def test_a_first_stage_that_does_not_stride_does_not_pool_its_shortcut():
    model = models.create("ResNet18_vd")
    names = [[name for name, _ in stage[0].shortcut.named_children()] for stage in model.stages]
    assert names == [["conv", "bn"]] + 3 * [["pool", "conv", "bn"]]


def test_a_shortcut_averages_the_last_row_and_column_of_an_odd_map_over_the_pixels_that_are_there():
    pool = models.create("ResNet18_vd", num_classes=2).stages[1][0].shortcut.pool
    found = pool(paddle.arange(9, dtype="float32").reshape([1, 1, 3, 3])).numpy()[0, 0]
    np.testing.assert_allclose(found, [[(0 + 1 + 3 + 4) / 4, (2 + 5) / 2], [(6 + 7) / 2, 8]])


def test_dropout_scales_features_in_evaluation_as_published_weights_expect():
    drop = models.create("MobileNetV3_small_x0_35").head.drop
    drop.eval()
    assert drop(paddle.ones([1, 1])).item() == pytest.approx(0.8)
