"""Convolutions of small maps on a CPU: the matrix products of `ssld.models.convolution` against Paddle's own kernels.

    python benchmarks/convolution.py [--seconds 0.5] [--step-seconds 5]

Forward and backward of one layer, for every shape in which a network of LAYERS_OF takes such a product, then whole
training steps of the networks of STEPS. Random float32 input, one thread (OMP_NUM_THREADS=1 unless it is set); the two
routes take turns in one process, so that other load hits both. Ends with one JSON line of ratios of medians; above 1
the product is faster.
"""

import argparse
import json
import os
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import ssld  # before Paddle: it chooses MKL's fast path on AMD

os.environ.setdefault("GLOG_minloglevel", "2")

import numpy as np
import paddle

from ssld import models
from ssld.deploy.timing import measure
from ssld.models import convolution
from ssld.models.convolution import Conv2D, DepthwiseConv2D
from ssld.runtime import hardware

LAYERS_OF = [("MobileNetV3_small_x1_0", 32, 64), ("MobileNetV3_small_x1_0", 224, 8), ("ResNet18_vd", 32, 64)]
STEPS = [
    ("MobileNetV3_small_x0_35", 28, 64),
    ("MobileNetV3_small_x1_0", 32, 64),
    ("MobileNetV3_small_x1_0", 224, 8),
    ("ResNet18_vd", 32, 64),
    ("ResNet18_vd", 64, 32),
]  # network, pixels of a side, images
REPEATS = 500
LIMITS = ("LARGEST_MAP", "FEW_PIXELS")  # of the products; 0 takes Paddle's kernels

Shape = tuple[type, int, int, int, int, int]  # class, channels in and out, kernel, stride, side of the input map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="limit for each route of a shape")
    parser.add_argument("--step-seconds", type=float, default=5.0, help="limit for each route of a training step")
    args = parser.parse_args()
    paddle.set_device("cpu")
    paddle.seed(0)
    layers: dict[str, float] = {}
    for arch, side, batch in LAYERS_OF:
        for shape in shapes_of(arch, side, batch):
            name = "{}-{}ch k{} s{} {}x{} b{}".format(*shape[1:], shape[-1], batch)
            layers[name] = compare(name, layer_call(shape, batch), args.seconds)
    steps: dict[str, float] = {}
    for arch, side, batch in STEPS:
        name = f"{arch} {side}px b{batch}"
        steps[name] = compare(name, step_call(arch, side, batch), args.step_seconds)
    conditions = {"hardware": hardware(), "threads": os.environ["OMP_NUM_THREADS"], "paddle": paddle.__version__}
    ratios = {"layer": layers, "training_step": steps}
    print(json.dumps({"benchmark": "convolution", **conditions, "ssld": ssld.__version__, "ratio": ratios}))


def shapes_of(arch: str, side: int, batch: int) -> list[Shape]:
    """The different convolutions of a network that take a product."""
    found: dict[Shape, None] = {}

    def note(layer: Conv2D | DepthwiseConv2D, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> None:
        if layer.product(inputs[0]):
            width_in, width = inputs[0].shape[1], output.shape[1]
            found[type(layer), width_in, width, layer.kernel, layer.stride, inputs[0].shape[-1]] = None

    model = models.create(arch, in_size=side)
    for layer in model.sublayers():
        if isinstance(layer, (Conv2D, DepthwiseConv2D)):
            layer.register_forward_post_hook(note)
    with paddle.no_grad():
        model(paddle.zeros([batch, 3, side, side]))
    return list(found)


def layer_call(shape: Shape, batch: int) -> Callable[[], None]:
    """Forward and backward of one layer, for its input and its weight."""
    kind, width_in, width, kernel, stride, side = shape
    widths = (width,) if kind is DepthwiseConv2D else (width_in, width)
    layer = kind(*widths, kernel, stride)
    images = paddle.randn([batch, width_in, side, side])
    images.stop_gradient = False
    gradient = paddle.ones_like(layer(images))

    def call() -> None:
        paddle.autograd.backward([layer(images)], [gradient])
        layer.clear_gradients()
        images.clear_grad()

    return call


def step_call(arch: str, side: int, batch: int) -> Callable[[], None]:
    """One update with momentum and cross entropy."""
    model = models.create(arch, num_classes=10, in_size=side)
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=model.parameters())
    images, labels = paddle.randn([batch, 3, side, side]), paddle.randint(0, 10, [batch])

    def call() -> None:
        paddle.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()

    return call


def compare(name: str, call: Callable[[], None], seconds: float) -> float:
    """Median time by Paddle's kernels over median time by products."""

    def route(limits: tuple[int, ...]) -> Callable[[], None]:
        def run() -> None:
            for limit, value in zip(LIMITS, limits, strict=True):
                setattr(convolution, limit, value)
            call()

        return run

    own = tuple(getattr(convolution, limit) for limit in LIMITS)
    times = measure([route((0, 0)), route(own)], warmup=3, repeats=REPEATS, seconds=seconds)
    plain, product = (float(np.median(taken)) for taken in times)
    for limit, value in zip(LIMITS, own, strict=True):
        setattr(convolution, limit, value)
    print(f"{name:36} plain {plain:9.3f} ms   product {product:9.3f} ms   ratio {plain / product:6.2f}", flush=True)
    return round(plain / product, 2)


if __name__ == "__main__":
    main()
