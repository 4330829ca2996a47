"""GoogLeNet, the Inceptions and the Xceptions: revisions, auxiliary heads, smallest inputs, where stages end."""

import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.errors import RecipeError
from tests.unit.stage_outputs import stages


def test_googlenet_gives_one_head_in_forward_and_three_in_heads():
    model = models.create("GoogLeNet", num_classes=5, in_size=128)
    model.eval()
    images = paddle.randn([2, 3, 128, 128])
    heads = model.heads(images)
    assert [head.shape for head in heads] == [[2, 5]] * 3
    assert bool((heads[0] == model(images)).all())


def test_the_main_head_of_googlenet_takes_other_sizes_than_in_size():
    assert models.create("GoogLeNet", num_classes=5)(paddle.randn([1, 3, 96, 96])).shape == [1, 5]


@pytest.mark.parametrize(("size", "pixels"), [(61, 1), (128, 1), (224, 9), (320, 25)])
def test_the_auxiliary_heads_of_googlenet_follow_in_size(size, pixels):
    with paddle.LazyGuard():
        model = models.create("GoogLeNet", in_size=size)
    assert model.aux1.fc.weight.shape == model.aux2.fc.weight.shape == [128 * pixels, 1024]


def test_the_second_auxiliary_head_of_googlenet_has_a_relu_in_1_x_only():
    old = models.create("GoogLeNet", num_classes=5, in_size=61, revision="1.x")
    new = models.create("GoogLeNet", num_classes=5, in_size=61, revision="2.x")
    new.set_state_dict(old.state_dict())
    old.eval()
    new.eval()
    images = paddle.randn([1, 3, 61, 61])
    same = [bool((a == b).all()) for a, b in zip(old.heads(images), new.heads(images), strict=True)]
    assert same == [True, True, False]


@pytest.mark.parametrize(("revision", "corner"), [("1.x", 1.0), ("2.x", 4 / 9)])
def test_inception_v3_averages_over_padding_except_in_1_x(revision, corner):
    with paddle.LazyGuard():
        model = models.create("InceptionV3", revision=revision)
    pools = [layer for layer in model.sublayers() if isinstance(layer, nn.AvgPool2D)]
    corners = [float(pool(paddle.ones([1, 1, 4, 4]))[0, 0, 0, 0]) for pool in pools]
    assert corners == pytest.approx([corner] * 9)


@pytest.mark.parametrize(("name", "size"), [("GoogLeNet", 61), ("InceptionV3", 75), ("InceptionV4", 75)])
def test_a_size_that_leaves_no_pixel_is_refused_and_the_next_is_taken(name, size):
    with pytest.raises(RecipeError, match=f"in_size {size - 1} leaves no pixel .* give at least {size}"):
        models.create(name, in_size=size - 1)
    model = models.create(name, num_classes=3, in_size=size)
    last = list(stages(model, paddle.randn([1, 3, size, size])).values())[-1]
    assert last.shape[2:] == [1, 1]


@pytest.mark.parametrize(
    ("name", "size", "taps"),
    [
        ("GoogLeNet", 96, [(480, 11), (832, 5), (1024, 2)]),
        ("InceptionV3", 107, [(288, 11), (768, 5), (2048, 2)]),
        ("InceptionV4", 107, [(384, 11), (1024, 5), (1536, 2)]),
        ("Xception41", 32, [(128, 8), (256, 4), (728, 2), (2048, 1)]),
        ("Xception71", 32, [(256, 8), (728, 4), (728, 2), (2048, 1)]),
        ("Xception41_deeplab", 32, [(128, 8), (256, 4), (728, 2), (2048, 1)]),
    ],
)
def test_a_stage_ends_where_the_resolution_changes(name, size, taps):
    model = models.create(name, num_classes=3, in_size=size)
    model.eval()
    features = stages(model, paddle.randn([1, 3, size, size])).values()
    assert [(f.shape[1], f.shape[2]) for f in features] == taps


def test_deeplab_drops_pixels_not_channels_in_training():
    with paddle.LazyGuard():
        model = models.create("Xception41_deeplab")
    head = nn.Sequential(*list(model.head.children())[:-1])  # all but the linear layer
    kept = head(paddle.ones([1, 2048, 16, 16]))
    assert 0.3 < float(kept.min()) < float(kept.max()) < 0.7
    head.eval()
    assert bool((head(paddle.ones([1, 2048, 16, 16])) == 0.5).all())
