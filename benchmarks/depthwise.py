"""Depthwise convolution on a CPU: the matrix route of `ssld.models.depthwise` against Paddle's own kernel.

    python benchmarks/depthwise.py [--seconds 0.5] [--step-seconds 5]

Forward and backward of one layer for every depthwise shape of MobileNetV3_small_x1_0 at 32 and at 224 pixels, then
whole training steps of MobileNetV3_small_x0_35 at 32 pixels. Random float32 input, one thread (OMP_NUM_THREADS=1 unless
it is set); the two routes take turns in one process, so that other load hits both. Shapes above LARGEST_MAP are left
out: both routes are the same kernel there. Ends with one JSON line of ratios of medians; above 1 the matrix is faster.
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
from ssld.models import depthwise
from ssld.models.depthwise import DepthwiseConv2D
from ssld.runtime import hardware

SHAPES_OF, STEP_OF = "MobileNetV3_small_x1_0", "MobileNetV3_small_x0_35"
BATCH = {32: 64, 224: 8}  # images, by pixels of a side
REPEATS = 500
LARGEST_MAP = depthwise.LARGEST_MAP

Shape = tuple[int, int, int, int]  # channels, kernel, stride, side of the input map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="limit for each route of a shape")
    parser.add_argument("--step-seconds", type=float, default=5.0, help="limit for each route of the training step")
    args = parser.parse_args()
    paddle.set_device("cpu")
    paddle.seed(0)
    shapes: dict[str, float] = {}
    for side, batch in BATCH.items():
        for shape in shapes_at(side):
            name = "{}ch k{} s{} {}x{}".format(*shape, shape[-1])
            shapes[f"{side}px {name}"] = compare(name, layer_call(shape, batch), args.seconds)
    step = compare(f"step of {STEP_OF}", step_call(32, BATCH[32]), args.step_seconds)
    conditions = {
        "hardware": hardware(),
        "threads": os.environ["OMP_NUM_THREADS"],
        "paddle": paddle.__version__,
        "ssld": ssld.__version__,
        "batch": {f"{side}px": batch for side, batch in BATCH.items()},
    }
    ratios = {"ratio_to_plain": shapes, "step_ratio_to_plain": step}
    print(json.dumps({"benchmark": "depthwise", **conditions, **ratios}))


def shapes_at(side: int) -> list[Shape]:
    """The different depthwise convolutions of SHAPES_OF for images of `side` pixels that take the matrix route."""
    found: dict[Shape, None] = {}

    def note(layer: DepthwiseConv2D, inputs: tuple[paddle.Tensor], output: paddle.Tensor) -> None:
        height, width = inputs[0].shape[2:]
        if height * width <= LARGEST_MAP:
            found[inputs[0].shape[1], layer.kernel, layer.stride, height] = None

    model = models.create(SHAPES_OF, in_size=side)
    model.eval()
    for layer in model.sublayers():
        if isinstance(layer, DepthwiseConv2D):
            layer.register_forward_post_hook(note)
    with paddle.no_grad():
        model(paddle.zeros([1, 3, side, side]))
    return list(found)


def layer_call(shape: Shape, batch: int) -> Callable[[], None]:
    """Forward and backward of one layer, for its input and its weight."""
    channels, kernel, stride, side = shape
    layer = DepthwiseConv2D(channels, kernel, stride)
    images = paddle.randn([batch, channels, side, side])
    images.stop_gradient = False
    gradient = paddle.ones_like(layer(images))

    def call() -> None:
        paddle.autograd.backward([layer(images)], [gradient])
        layer.clear_gradients()
        images.clear_grad()

    return call


def step_call(side: int, batch: int) -> Callable[[], None]:
    """One update of STEP_OF with momentum and cross entropy."""
    model = models.create(STEP_OF, num_classes=10, in_size=side)
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=model.parameters())
    images, labels = paddle.randn([batch, 3, side, side]), paddle.randint(0, 10, [batch])

    def call() -> None:
        paddle.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()

    return call


def compare(name: str, call: Callable[[], None], seconds: float) -> float:
    """Median time by Paddle's kernel over median time by matrices."""

    def route(largest_map: int) -> Callable[[], None]:
        def run() -> None:
            depthwise.LARGEST_MAP = largest_map
            call()

        return run

    times = measure([route(0), route(LARGEST_MAP)], warmup=3, repeats=REPEATS, seconds=seconds)
    plain, matrix = (float(np.median(taken)) for taken in times)
    print(f"{name:36} plain {plain:9.3f} ms   matrix {matrix:9.3f} ms   ratio {plain / matrix:6.2f}", flush=True)
    return round(plain / matrix, 2)


if __name__ == "__main__":
    main()
