"""This module makes a network compute as its int8 file will: PaddleSlim's simulated quantisation, of chosen layers.

Weights are rounded to int8 with a scale a channel, the inputs of the same layers to int8 with one scale: the moving
average of the largest |value| of a batch. Gradients pass the rounding unchanged (arXiv:1712.05877, section 3).
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle import nn

from ssld import models
from ssld.errors import RunError
from ssld.models.convolution import Conv2D, DepthwiseConv2D

Images: TypeAlias = "np.ndarray | paddle.Tensor"
"""A batch of normalised images, float32 [n, 3, S, S]."""

CONFIG = {
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "weight_bits": 8,
    "activation_bits": 8,
    "quantizable_layer_type": ["Conv2D", "Linear"],
    "onnx_format": True,
}
UPDATES = 64
"""The moving averages get at least so many updates.

They begin at 1 and forget a tenth of that an update, which leaves 0.1 %.
"""
MISSING = "needs paddleslim, not installed; pip install 'ssld[int8]'"


def available() -> bool:
    """Whether PaddleSlim is installed."""
    return find_spec("paddleslim") is not None


def layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """Return {name: layer} of what can be quantised in a float network.

    These are its convolutions and linear layers, in order.
    """
    return {name: layer for name, layer in network.named_sublayers() if isinstance(layer, (nn.Conv2D, nn.Linear))}


def quantise(network: nn.Layer, keep: Collection[str] = ()) -> nn.Layer:
    """Change all of `layers` but those in `keep`, in place, and return the network. The scales are still fresh.

    A layer `x` becomes `x._layer`: its weights are `x._layer.weight`, its scales `x._layer._fake_quant_*._scale`.
    Raises RunError without PaddleSlim, and for a name in `keep` that is no layer's.
    """
    if not available():
        raise RunError(f"quantize {MISSING}")
    from paddleslim import QAT

    float_layers = layers(network)
    if unknown := sorted(set(keep) - float_layers.keys()):
        raise RunError(f"quantize: no layer {unknown[0]!r} in {network.arch}; the stage is of another network")
    for name in keep:
        float_layers[name].skip_quant = True
    with _quiet():
        QAT(config=dict(CONFIG)).quantize(network)
    for name, layer in quantised(network).items():
        if isinstance(float_layers[name], (Conv2D, DepthwiseConv2D)):
            layer.__class__, layer.like = _fast(type(layer)), (float_layers[name],)
    return network


def save(network: nn.Layer, prefix: str, spec: paddle.static.InputSpec) -> None:
    """Write a quantised network as a program of Paddle 2, `.pdmodel` and `.pdiparams`, for an input of `spec`.

    PaddleSlim leaves the network traced: it is of no further use.
    """
    from paddleslim import QAT

    with _quiet():
        QAT(config=dict(CONFIG)).save_quantized_model(network, prefix, input_spec=[spec])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what PaddleSlim prints and warns of calls between its package and Paddle's."""
    logging.getLogger("paddleslim").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def quantised(network: nn.Layer) -> dict[str, nn.Layer]:
    """Return {name in the float network: PaddleSlim's layer}, in order; {} of a float network."""
    layers_by_path = {name: layer for name, layer in network.named_sublayers() if hasattr(layer, "_fake_quant_input")}
    return {name.removesuffix("._layer"): layer for name, layer in layers_by_path.items()}


@paddle.no_grad()
def calibrate(network: nn.Layer, batches: Iterable[Images]) -> None:
    """Set the scales of a quantised network from batches of images [n, 3, S, S], shown until UPDATES is reached.

    Only the observers of ranges are in training mode meanwhile: batch norm and dropout are as in an evaluation. The
    network is left in evaluation mode.
    """
    network.eval()
    for layer in network.sublayers():
        layer.training = type(layer).__module__.startswith("paddle.nn.quant")
    tensors, updates = [paddle.to_tensor(batch) for batch in batches], 0
    while updates < UPDATES:
        for batch in tensors:
            network(batch)
        updates += len(tensors)
    network.eval()


def largest(network: nn.Layer) -> dict[str, float]:
    """Return {name of a quantised layer: the |input| that becomes 127}; larger inputs are clipped."""
    return {name: float(layer._fake_quant_input._scale.item()) for name, layer in quantised(network).items()}


def float_twin(network: models.Classifier) -> models.Classifier:
    """Return the network with its trained weights and statistics and without any rounding, in evaluation mode.

    Its names are those of the architecture, so that `layers` of it and `quantised` of `network` agree.
    """
    twin = models.create(network.arch, network.num_classes, network.in_size, network.revision)
    state = {key.replace("._layer.", "."): value for key, value in network.state_dict().items()}
    for key, tensor in twin.state_dict().items():
        tensor.set_value(state[key])
    twin.eval()
    return twin


def file_scales(network: models.Classifier, twin: nn.Layer) -> list[tuple[np.ndarray, float | None]]:
    """Return for each layer the weights that identify it in a file, and its largest |input|; None: it stays float."""
    scales: Mapping[str, float] = largest(network)
    return [(layer.weight.numpy(), scales.get(name)) for name, layer in layers(twin).items()]


def _fast(kind: Any) -> Any:
    """Return PaddleSlim's convolution with the matrix product of ours, where that is the faster way on a CPU."""

    class Fast(kind):
        like: tuple[Conv2D | DepthwiseConv2D]  # the float layer, in a tuple because it is no part of the network

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            if not self.like[0].product(x):
                return super().forward(x)
            return self.like[0].multiply(self._fake_quant_input(x), self._fake_quant_weight(self.weight))

    return Fast
