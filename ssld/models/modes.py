"""Put a network into evaluation mode for a while, and say which layers keep running statistics."""

from collections.abc import Iterator
from contextlib import contextmanager

from paddle import nn

BATCH_NORMS = (nn.BatchNorm, nn.BatchNorm1D, nn.BatchNorm2D, nn.BatchNorm3D, nn.SyncBatchNorm)


@contextmanager
def evaluating(network: nn.Layer) -> Iterator[None]:
    """Put a network into evaluation mode inside the block; afterwards every layer is in the mode that it was in."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training
