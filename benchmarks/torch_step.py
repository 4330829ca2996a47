"""A training step of MobileNetV3 on a CPU against PyTorch's, of the same network with the same weights and images.

    python benchmarks/torch_step.py [--arch MobileNetV3_small_x1_0] [--seconds 8] [--sizes 32 224] [--batches 64 16]

PyTorch is not among the packages that ssld asks for: install it beside them. Cross entropy, momentum, no dropout, one
thread each (OMP_NUM_THREADS=1); Paddle on its own kernels (`plain`), ours, and PyTorch take turns in one process. The
losses must agree to 1e-4 before anything is timed. Ends with one JSON line: wall time of a step of Paddle's own kernels
and of PyTorch over ours, medians; above 1 ours is faster.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import ssld  # before Paddle: it chooses MKL's fast path on AMD

os.environ.setdefault("GLOG_minloglevel", "2")

import numpy as np
import paddle
from convolution import LIMITS

from ssld import models
from ssld.deploy.timing import measure
from ssld.models import convolution, mobilenet_v3
from ssld.runtime import hardware, seed_networks

try:
    import torch
except ImportError:
    sys.exit("torch_step: PyTorch is not installed; pip install torch")

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="MobileNetV3_small_x1_0")
    parser.add_argument("--seconds", type=float, default=8.0, help="limit of each contender")
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 224])
    parser.add_argument("--batches", nargs="+", type=int, default=[64, 16], help="images, one number a size")
    args = parser.parse_args()
    paddle.set_device("cpu")
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    for size, batch in zip(args.sizes, args.batches, strict=True):
        rng = np.random.default_rng(0)
        images = rng.standard_normal((batch, 3, size, size)).astype("float32")
        labels = rng.integers(0, CLASSES, batch)
        ours, theirs = paddle_step(args.arch, images, labels), torch_step(args.arch, images, labels)
        losses = ours(), theirs()
        if abs(losses[0] - losses[1]) > 1e-4 * abs(losses[0]):
            sys.exit(f"{args.arch} at {size} px: losses {losses}; the comparison would mean nothing")
        times = measure([on_plain_kernels(ours), ours, theirs], warmup=3, repeats=500, seconds=args.seconds)
        plain, own, torchs = (float(np.median(taken)) for taken in times)
        print(f"{size} px, {batch} images: plain {plain:.1f} ms, ssld {own:.1f} ms, PyTorch {torchs:.1f} ms")
        ratios |= {f"{size}px/plain": round(plain / own, 2), f"{size}px/torch": round(torchs / own, 2)}
    versions = {"paddle": paddle.__version__, "torch": torch.__version__, "ssld": ssld.__version__}
    print(json.dumps({"benchmark": "torch_step", "hardware": hardware(), **versions, **vars(args), "ratio": ratios}))


def network(arch: str) -> Any:
    seed_networks("benchmark", arch)
    made = models.create(arch, num_classes=CLASSES)
    for layer in made.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
    return made


def paddle_step(arch: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    model, x, y = network(arch), paddle.to_tensor(images), paddle.to_tensor(labels)
    optimizer = paddle.optimizer.Momentum(1e-3, parameters=model.parameters())

    def step() -> float:
        loss = paddle.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        return float(loss)

    return step


def on_plain_kernels(step: Callable[[], float]) -> Callable[[], float]:
    """The same step without the products of `ssld.models.convolution`."""

    def plain() -> float:
        own = [getattr(convolution, limit) for limit in LIMITS]
        for limit in LIMITS:
            setattr(convolution, limit, 0)
        loss = step()
        for limit, value in zip(LIMITS, own, strict=True):
            setattr(convolution, limit, value)
        return loss

    return plain


def torch_step(arch: str, images: np.ndarray, labels: np.ndarray) -> Callable[[], float]:
    model, x, y = twin(network(arch)), torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


class Gate(torch.nn.Module):
    """`SqueezeExcite`: hard-sigmoid with a slope of 0.2."""

    def __init__(self, layer: mobilenet_v3.SqueezeExcite):
        super().__init__()
        self.squeeze, self.excite = twin(layer.squeeze), twin(layer.excite)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * (0.2 * gate + 0.5).clamp(0, 1)


class Block(torch.nn.Module):
    def __init__(self, layer: mobilenet_v3.Block):
        super().__init__()
        parts = layer.expand, layer.filter, layer.gate, layer.project
        self.body, self.residual = torch.nn.Sequential(*map(twin, parts)), layer.residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.residual else self.body(x)


def twin(layer: Any) -> Any:
    """The PyTorch module of a Paddle layer of MobileNetV3, with its weights."""
    nn = paddle.nn
    if isinstance(layer, mobilenet_v3.MobileNetV3):
        return torch.nn.Sequential(twin(layer.stem), *map(twin, layer.stages), twin(layer.head))
    if isinstance(layer, mobilenet_v3.Block):
        return Block(layer)
    if isinstance(layer, mobilenet_v3.SqueezeExcite):
        return Gate(layer)
    if isinstance(layer, nn.Sequential):
        return torch.nn.Sequential(*map(twin, layer.children()))
    if isinstance(layer, nn.Conv2D):
        width, width_in, kernel, _ = layer.weight.shape
        groups, bias = layer._groups, layer.bias is not None
        made: Any = torch.nn.Conv2d(width_in * groups, width, kernel, layer._stride, kernel // 2, 1, groups, bias)
        return with_weights(made, weight=layer.weight, bias=layer.bias)
    if isinstance(layer, nn.BatchNorm2D):
        made = torch.nn.BatchNorm2d(layer.weight.shape[0], layer._epsilon, 1 - layer._momentum)
        return with_weights(made, weight=layer.weight, bias=layer.bias)
    if isinstance(layer, nn.Linear):
        made = torch.nn.Linear(*layer.weight.shape)
        return with_weights(made, weight=layer.weight.T, bias=layer.bias)
    plain = {nn.ReLU: torch.nn.ReLU, nn.Hardswish: torch.nn.Hardswish, nn.Flatten: torch.nn.Flatten}
    if isinstance(layer, nn.AdaptiveAvgPool2D):
        return torch.nn.AdaptiveAvgPool2d(1)
    return plain.get(type(layer), torch.nn.Identity)()  # of the others, Identity and a dropout of 0, nothing is left


def with_weights(module: Any, **weights: Any) -> Any:
    for name, value in weights.items():
        if value is not None:
            getattr(module, name).data = torch.from_numpy(np.ascontiguousarray(value.numpy()))
    return module


if __name__ == "__main__":
    main()
