"""EfficientNet: drop connect, padding, and what fits into a pixel."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld import models
from ssld.models.convolution import DepthwiseConv2D
from ssld.models.efficientnet import Residual, pad_before


def test_drop_connect_drops_whole_images_and_scales_up_the_others():
    paddle.seed(0)
    block = Residual(nn.Identity(), 0.75)
    y = block(paddle.ones([64, 3, 2, 2])).numpy()
    assert set(y[:, 0, 0, 0]) == {1.0, 5.0}  # the input alone, or with the body / (1 - 0.75)
    assert (y == y[:, :1, :1, :1]).all()
    assert 6 <= (y[:, 0, 0, 0] == 5).sum() <= 26  # a quarter of 64


def test_drop_connect_repeats_with_the_seed_and_is_off_in_eval():
    block, images = Residual(nn.Identity(), 0.5), paddle.ones([64, 1, 1, 1])
    paddle.seed(1)
    first, other = block(images), block(images)
    paddle.seed(1)
    assert bool((block(images) == first).all())
    assert not bool((other == first).all())
    block.eval()
    assert bool((block(images) == 2).all())


def test_drop_connect_takes_deeper_blocks_more_often_up_to_the_rate_of_the_table():
    blocks = [block for stage in models.create("EfficientNetB0").stages for block in stage]
    rates = {n: block.drop.p for n, block in enumerate(blocks) if isinstance(block, Residual)}
    assert list(rates) == [2, 4, 6, 7, 9, 10, 12, 13, 14]
    assert list(rates.values()) == pytest.approx([0.2 * n / 16 for n in rates])


@pytest.mark.parametrize("size", [1, 6, 7, 24, 25])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("native", [14, 15])
def test_padding_is_that_of_the_published_code_at_every_size(native, kernel, size):
    layer = DepthwiseConv2D(4, kernel, 2, pad_before(kernel, 2, native))
    images = paddle.randn([8, 4, size, size + 1])
    spare = max(kernel - 2, 0) if native % 2 == 0 else kernel - 1  # what SAME adds to a map of the native size
    padding = spare // 2 if spare % 2 == 0 else spare // 2 + 2  # an odd number is padded with too much ...
    wanted = nn.functional.conv2d(images, layer.weight, stride=2, padding=padding, groups=4)[
        :, :, spare % 2 :, spare % 2 :
    ]
    for found in (layer(images), nn.Conv2D.forward(layer, images)):  # ... and the first row and column cut off
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=0, atol=1e-5)


def test_the_small_variant_pads_symmetrically_and_has_no_gates():
    small = models.create("EfficientNetB0_small")
    convs = [layer for layer in small.sublayers() if isinstance(layer, nn.Conv2D)]
    assert {(conv._kernel_size[0], conv._updated_padding[0]) for conv in convs} == {(1, 0), (3, 1), (5, 2)}
    assert not any(".gate." in key for key in small.state_dict())


def test_in_size_changes_no_padding():
    small, large = (models.create("EfficientNetB2", 10, in_size) for in_size in (65, 224))
    large.set_state_dict(small.state_dict())
    images = paddle.randn([1, 3, 65, 65])
    small.eval()
    large.eval()
    assert bool((small(images) == large(images)).all())
