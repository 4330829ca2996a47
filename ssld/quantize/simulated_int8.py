"""This module makes a network compute as its int8 file will: PaddleSlim's simulated quantisation, of chosen layers.

Weights are rounded to int8 with a scale a channel, the inputs of the same layers to int8 with one scale: the moving
average of the largest |value| of a batch. Gradients pass the rounding unchanged (arXiv:1712.05877, section 3).
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
import paddle
from paddle import nn

from ssld.errors import RunError
from ssld.models.convolution import Conv2D, DepthwiseConv2D
from ssld.models.taps import called, inside, sublayer

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
    """Return whether PaddleSlim is installed."""
    return find_spec("paddleslim") is not None


def layers(network: nn.Layer) -> dict[str, nn.Layer]:
    """Return {name: layer} of what can be quantised in a float network.

    These are its convolutions and linear layers, in order.
    """
    return {name: layer for name, layer in network.named_sublayers() if isinstance(layer, (nn.Conv2D, nn.Linear))}


def quantise(network: nn.Layer, keep: Collection[str] = ()) -> nn.Layer:
    """Change all of `layers` but those in `keep`, in place, and return the network. The scales are still fresh.

    A layer `x` becomes `x._layer`: its weights are `x._layer.weight`, its scales `x._layer._fake_quant_*._scale`. It
    keeps the float layer that it was, with the same weights, as `like`. A layer that stands in two places of the
    network becomes one that does.
    Raises RunError without PaddleSlim, for a name in `keep` that is no layer's, and for a layer with hooks, such as
    those of `nn.utils.weight_norm`, which the rounding layer would not call.
    """
    if not available():
        raise RunError(f"quantize {MISSING}")
    from paddleslim import QAT

    float_layers = layers(network)
    if unknown := sorted(set(keep) - float_layers.keys()):
        raise RunError(f"quantize: no layer {unknown[0]!r} in {called(network)}; the stage is of another network")
    for name, layer in float_layers.items():
        if name not in keep and (layer._forward_pre_hooks or layer._forward_post_hooks):
            what = (
                f"the layer {name!r} of {called(network)} has hooks (as of weight_norm), which rounding does not call"
            )
            raise RunError(f"quantize: {what}; remove them first")
    for name in keep:
        float_layers[name].skip_quant = True
    with _quiet():
        QAT(config=dict(CONFIG)).quantize(network)
    for name, layer in quantised(network).items():
        layer.like = (float_layers[name],)  # in a tuple, because it is no part of the network
        if isinstance(float_layers[name], (Conv2D, DepthwiseConv2D)):
            layer.__class__ = _fast(type(layer))
    rounding = {id(float_layers[name]): sublayer(network, name) for name in quantised(network)}
    _replace(network, lambda layer: rounding.get(id(layer)))  # PaddleSlim replaces a shared layer in one place alone
    return network


def _replace(network: nn.Layer, substitute: Callable[[nn.Layer], nn.Layer | None]) -> None:
    """Put what `substitute` returns for a layer into its place, wherever it stands; None leaves the layer there."""
    for parent in network.sublayers(include_self=True):
        for name, layer in parent._sub_layers.items():
            if layer is not None and (new := substitute(layer)) is not None:
                parent._sub_layers[name] = new


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


def float_twin(network: nn.Layer) -> nn.Layer:
    """Return a copy of the network with its trained weights and statistics and without rounding, in evaluation mode.

    Its layers and parameters have the names of the network before it was quantised, so that `layers` of it and
    `quantised` of `network` agree. RunError where the network cannot be copied.
    """
    twin = duplicate(network)
    for parameter, copied in zip(network.parameters(), twin.parameters(), strict=True):
        copied.name = parameter.name
    _replace(twin, lambda layer: layer._layer.like[0] if inside(layer) is not layer else None)
    twin.eval()
    return twin


def duplicate(network: nn.Layer) -> nn.Layer:
    """Return a copy of a network, which shares nothing with it.

    Raises RunError where its code holds what cannot be copied.
    """
    try:
        return copy.deepcopy(network)
    except Exception as error:  # attributes of other people's code may raise anything
        reason = " ".join(str(error).split())[:200]
        what = f"the network {called(network)} cannot be copied ({type(error).__name__}: {reason})"
        raise RunError(
            f"quantize: {what}; keep no tensors of a forward pass, locks or files as its attributes"
        ) from error


def file_scales(network: nn.Layer, twin: nn.Layer) -> list[tuple[np.ndarray, float | None]]:
    """Return for each layer the weights that identify it in a file, and its largest |input|; None: it stays float."""
    scales: Mapping[str, float] = largest(network)
    return [(layer.weight.numpy(), scales.get(name)) for name, layer in layers(twin).items()]


def _fast(kind: Any) -> Any:
    """Return PaddleSlim's convolution with the matrix product of ours, where that is the faster way on a CPU."""

    class Fast(kind):
        like: tuple[Conv2D | DepthwiseConv2D]

        def forward(self, x: paddle.Tensor) -> paddle.Tensor:
            if not self.like[0].product(x):
                return super().forward(x)
            return self.like[0].multiply(self._fake_quant_input(x), self._fake_quant_weight(self.weight))

    return Fast
