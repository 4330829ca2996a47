"""How the networks of the literature start, and how PyTorch calls what they hold.

They start as in their own code, and not as the networks of PaddleClas do.
"""

from __future__ import annotations

from math import prod

from paddle import nn
from paddle.nn.initializer import Constant, KaimingNormal, KaimingUniform, Normal, Uniform

from ssld.models.base import Rule

STATISTICS: list[Rule] = [(r"\._mean$", ".running_mean"), (r"\._variance$", ".running_var")]
"""How PyTorch calls the statistics of a batch norm; these rules come last."""


def start_from_outputs(network: nn.Layer, linear: float | None = None) -> None:
    """Draw each convolution from N(0, sqrt(2 / (kernel area * output channels))), and biases at 0.

    The last layer starts at N(0, `linear`), or at U(+-1 / sqrt(inputs)) where that is None.
    """
    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D):
            outputs, _, *kernel = layer.weight.shape
            KaimingNormal(fan_in=outputs * prod(kernel))(layer.weight)
        elif isinstance(layer, nn.Linear):
            bound = layer.weight.shape[0] ** -0.5
            (Uniform(-bound, bound) if linear is None else Normal(0.0, linear))(layer.weight)
        if isinstance(layer, (nn.Conv2D, nn.Linear)) and layer.bias is not None:
            Constant(0.0)(layer.bias)


def start_as_torch(network: nn.Layer) -> None:
    """Draw convolutions and the last layer, with its bias, from U(+-1 / sqrt(inputs)), as PyTorch does by itself."""
    for layer in network.sublayers():
        if isinstance(layer, nn.Conv2D):
            KaimingUniform(negative_slope=5**0.5, nonlinearity="leaky_relu")(layer.weight)
        elif isinstance(layer, nn.Linear):
            bound = layer.weight.shape[0] ** -0.5
            for parameter in (layer.weight, layer.bias):
                Uniform(-bound, bound)(parameter)
