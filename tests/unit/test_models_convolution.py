"""A convolution as a matrix product is the convolution: values, gradients, and what is exported."""

import numpy as np
import paddle
import pytest
from paddle import nn

from ssld.models import convolution
from ssld.models.convolution import FEW_PIXELS, LARGEST_MAP, SOME_IMAGES, Conv2D, DepthwiseConv2D

WIDTH = 3


def pair(kernel, stride):
    """The layer, and Paddle's own convolution on the same weights."""
    paddle.seed(kernel * 10 + stride)
    layer = DepthwiseConv2D(WIDTH, kernel, stride)
    plain = nn.Conv2D(WIDTH, WIDTH, kernel, stride, padding=(kernel - 1) // 2, groups=WIDTH, bias_attr=False)
    plain.weight.set_value(layer.weight)
    return layer, plain


def results(layer, images, pull):
    """Output and the gradients of sum(pull * output) with respect to images and weight."""
    x = paddle.to_tensor(images, stop_gradient=False)
    y = layer(x)
    (y * paddle.to_tensor(pull)[:, :, : y.shape[2], : y.shape[3]]).sum().backward()
    return y.numpy(), x.grad.numpy(), layer.weight.grad.numpy()


@pytest.fixture
def routes(monkeypatch):
    """The shapes that took the matrix route."""
    taken = []
    by_matrix = convolution._by_matrix
    monkeypatch.setattr(
        convolution, "_by_matrix", lambda x, *rest: taken.append(tuple(x.shape[2:])) or by_matrix(x, *rest)
    )
    return taken


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 7), (8, 8), (5, 11), (16, 16)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2), (1, 1)])
def test_the_matrix_route_equals_the_convolution_in_values_and_gradients(size, kernel, stride, routes, monkeypatch):
    monkeypatch.setattr(DepthwiseConv2D, "_gains", lambda self, n, pixels: True)  # also where it does not pay
    rng = np.random.default_rng(0)
    images = rng.standard_normal((2, WIDTH, *size)).astype("float32")
    pull = rng.standard_normal(images.shape).astype("float32")
    layer, plain = pair(kernel, stride)
    for found, wanted in zip(results(layer, images, pull), results(plain, images, pull), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1, np.abs(wanted).max()))
    assert routes == [size]


def test_two_geometries_of_one_size_do_not_share_their_matrices(routes):
    images = np.random.default_rng(1).standard_normal((8, WIDTH, 6, 4)).astype("float32")
    for kernel, stride in ((3, 1), (3, 2), (5, 1)):
        for turned in (images, images.transpose(0, 1, 3, 2).copy()):
            layer, plain = pair(kernel, stride)
            x = paddle.to_tensor(turned)
            np.testing.assert_allclose(layer(x).numpy(), plain(x).numpy(), atol=1e-5)
    assert len(routes) == 6


@pytest.mark.parametrize(
    ("kernel", "images", "size", "matrix"),
    [
        (5, 64, (16, LARGEST_MAP // 16), True),
        (5, 64, (16, LARGEST_MAP // 16 + 1), False),  # its matrices would take too much memory
        (3, 2, (8, 8), False),  # so few images do not repay making the matrix
        (5, 8, (8, 8), True),
        (1, 64, (4, 4), True),
        (1, 64, (8, 8), False),  # one tap: the loop does no needless work
    ],
)
def test_the_matrix_route_is_taken_where_it_pays(kernel, images, size, matrix, routes):
    layer, plain = pair(kernel, 1)
    x = paddle.randn([images, WIDTH, *size])
    np.testing.assert_allclose(layer(x).numpy(), plain(x).numpy(), atol=1e-5)
    assert routes == [size] * matrix


def test_the_exported_graph_holds_a_convolution_and_no_matrix_product():
    layer, _ = pair(3, 2)
    layer.eval()
    spec = [paddle.static.InputSpec([None, WIDTH, 8, 8], "float32")]
    traced = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
    operations = [operation.name() for operation in traced.forward.concrete_program.main_program.global_block().ops]
    assert "pd_op.depthwise_conv2d" in operations
    assert not {"pd_op.bmm", "pd_op.matmul"} & set(operations)


def test_it_has_the_parameters_and_keys_of_the_convolution_that_it_is():
    layer, plain = pair(5, 2)
    assert isinstance(layer, nn.Conv2D)
    assert {key: value.shape for key, value in layer.state_dict().items()} == {"weight": [WIDTH, 1, 5, 5]}
    assert list(layer.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (1, 4), (5, 2)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2)])
def test_one_product_for_all_images_equals_the_convolution(size, kernel, stride, monkeypatch):
    monkeypatch.setattr(convolution, "FEW_PIXELS", 99)
    paddle.seed(kernel * 10 + stride)
    layer, plain = Conv2D(4, 6, kernel, stride), nn.Conv2D(4, 6, kernel, stride, (kernel - 1) // 2, bias_attr=False)
    plain.weight.set_value(layer.weight)
    assert list(layer.state_dict()) == list(plain.state_dict())
    rng = np.random.default_rng(2)
    images = rng.standard_normal((SOME_IMAGES, 4, *size)).astype("float32")
    pull = rng.standard_normal((SOME_IMAGES, 6, *size)).astype("float32")
    assert layer.product(paddle.to_tensor(images))
    for found, wanted in zip(results(layer, images, pull), results(plain, images, pull), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize(
    ("images", "side", "options", "product"),
    [
        (SOME_IMAGES, 3, {}, True),
        (SOME_IMAGES - 1, 3, {}, False),  # the filters are read anew for few images
        (SOME_IMAGES, 4, {}, False),
        (SOME_IMAGES, 6, {"stride": 2}, True),  # it is the map that comes out
        (SOME_IMAGES, 2, {"groups": 2}, False),
        (SOME_IMAGES, 2, {"bias": True}, False),
    ],
)
def test_one_product_is_made_where_it_pays(images, side, options, product, monkeypatch):
    assert FEW_PIXELS == 9
    taken = []
    multiply = Conv2D.multiply
    monkeypatch.setattr(Conv2D, "multiply", lambda self, x, weight: taken.append(x.shape) or multiply(self, x, weight))
    Conv2D(4, 4, 3, **options)(paddle.randn([images, 4, side, side]))
    assert bool(taken) == product


def test_a_compiled_layer_holds_convolutions_however_it_is_compiled():
    layer = nn.Sequential(Conv2D(4, 4, 3), DepthwiseConv2D(4, 3), Conv2D(4, 4, 3))
    images = paddle.randn([SOME_IMAGES, 4, 3, 3])
    with paddle.no_grad():
        wanted = layer(images).numpy()
        for full_graph in (False, True):
            compiled = paddle.jit.to_static(layer, full_graph=full_graph)
            np.testing.assert_allclose(compiled(images).numpy(), wanted, atol=1e-5)
    spec = [paddle.static.InputSpec([None, 4, 3, 3], "float32")]
    traced = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
    operations = [operation.name() for operation in traced.forward.concrete_program.main_program.global_block().ops]
    assert operations.count("pd_op.conv2d") == 2
    assert "pd_op.matmul" not in operations
