"""Statistics of batch norms that fit the weights as they are now."""

from collections.abc import Iterable
from typing import Any

import paddle
from paddle import nn


@paddle.no_grad()
def recalibrate(network: nn.Layer, batches: Iterable[Any]) -> None:
    """Set the running statistics of every batch norm to the mean over the batches of theirs (arXiv:2105.07576, 3.1).

    While a network trains its running statistics follow weights that are still changing, and with the momentum of 0.99
    that some published networks have, for hundreds of steps. `batches` of images float32 [n, 3, S, S]. Dropout and
    scales are as in an evaluation; leaves evaluation mode on.
    """
    network.eval()
    norms = [layer for layer in network.sublayers(include_self=True) if hasattr(layer, "_variance")]
    momenta = [layer._momentum for layer in norms]
    for number, batch in enumerate(batches):
        for layer in norms:
            layer.training, layer._momentum = True, number / (number + 1)  # the share kept: makes a mean of them
        network(paddle.to_tensor(batch))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.training, layer._momentum = False, momentum
