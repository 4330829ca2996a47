"""Several ranks: gradients are averaged by `paddle.DataParallel`, batch statistics on request by the layers here."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import paddle
import paddle.distributed as dist
import paddle.nn.functional as F
from paddle import nn
from paddle.autograd import PyLayer

from ssld.runtime import Runtime


def wrap(network: nn.Layer, runtime: Runtime, sync_bn: bool) -> Any:
    """The callable that a training step runs: `network` itself, or a data-parallel view of the same parameters."""
    if runtime.world == 1:
        return network
    if sync_bn:
        _synchronise(network)
    return paddle.DataParallel(network)


def hold_gradients(forward: Any, more_follow: bool) -> AbstractContextManager[Any]:
    """While micro-batches are accumulated only the last one averages gradients over the ranks."""
    return forward.no_sync() if more_follow and isinstance(forward, paddle.DataParallel) else nullcontext()


def _synchronise(network: nn.Layer) -> None:
    """Let every batch norm of `network`, in place, take its training statistics over all ranks."""
    for parent in [network, *network.sublayers()]:
        for name, layer in parent._sub_layers.items():
            if isinstance(layer, (nn.BatchNorm2D, nn.BatchNorm)):
                parent._sub_layers[name] = RankBatchNorm(layer)


class RankBatchNorm(nn.Layer):
    """Batch normalisation with the mean and variance of all ranks' batches (Paddle's own SyncBatchNorm needs a GPU).

    Takes over parameters, running statistics and keys of the layer that it replaces. [N, C, H, W] -> the same shape.
    """

    def __init__(self, layer: nn.Layer):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self._mean, self._variance = layer._mean, layer._variance  # parameters without a gradient, as Paddle has them
        self._momentum, self._epsilon = layer._momentum, layer._epsilon
        self._act = getattr(layer, "_act", None)

    def forward(self, x: Any) -> Any:
        if not self.training:
            y = F.batch_norm(x, self._mean, self._variance, self.weight, self.bias, epsilon=self._epsilon)
        else:
            mean = _SumOverRanks.apply(x.mean([0, 2, 3])) / dist.get_world_size()
            centred = x - mean.reshape([1, -1, 1, 1])
            variance = _SumOverRanks.apply((centred * centred).mean([0, 2, 3])) / dist.get_world_size()
            scale = self.weight * paddle.rsqrt(variance + self._epsilon)
            y = centred * scale.reshape([1, -1, 1, 1]) + self.bias.reshape([1, -1, 1, 1])
            self._keep(self._mean, mean)
            self._keep(self._variance, variance)
        return getattr(F, self._act)(y) if self._act else y

    @paddle.no_grad()
    def _keep(self, running: Any, value: Any) -> None:
        running.set_value(running * self._momentum + value.detach() * (1 - self._momentum))


class _SumOverRanks(PyLayer):
    """Sum over the ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = x.clone()
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        g = gradient.clone()
        dist.all_reduce(g)
        return g
