"""This module sets the statistics of batch norms to those that fit the present weights."""

from collections.abc import Iterable

import paddle
from paddle import nn

from ssld.quantize.simulated_int8 import Images


@paddle.no_grad()
def recalibrate(network: nn.Layer, batches: Iterable[Images]) -> None:
    """Set the running statistics of every batch norm to the mean of its statistics over the batches (arXiv:2105.07576,
    3.1).

    While a network trains, its running statistics follow weights that are still changing, and with the momentum of 0.99
    that some published networks have, they lag by hundreds of steps. batches: images float32 [n, 3, S, S]. Dropout and
    scales stay as in an evaluation; the network is left in evaluation mode.
    """
    network.eval()
    norms = [layer for layer in network.sublayers(include_self=True) if hasattr(layer, "_variance")]
    momenta = [layer._momentum for layer in norms]
    for number, batch in enumerate(batches):
        for layer in norms:
            # This momentum keeps such a share that a mean over the batches results.
            layer.training, layer._momentum = True, number / (number + 1)
        network(paddle.to_tensor(batch))
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.training, layer._momentum = False, momentum
