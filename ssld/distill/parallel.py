"""Share a training among several ranks.

Gradients are averaged by `paddle.DataParallel` or, on the CPU of one machine, through shared memory. Batch statistics
are shared, where the recipe asks for it, by the layers of this module.
"""

import math
import mmap
import os
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress

import numpy as np
import paddle
import paddle.distributed as dist
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.autograd import PyLayer, PyLayerContext

from ssld.distill.arrays import Floats
from ssld.errors import RunError
from ssld.interfaces import Parameter
from ssld.models import BATCH_NORMS
from ssld.progress import note
from ssld.runtime import Runtime, barrier, sum_over_ranks


class Ranks:
    """Share what a training step of one rank has in common with the other ranks. A single rank shares nothing.

    A step calls `forward`: `network` itself, or a data-parallel view of the same parameters. With `apart` the gradients
    of task and distillation are taken separately and averaged by `mean`, so that there is no such view.
    """

    def __init__(
        self, network: nn.Layer, trained: list[Parameter], runtime: Runtime, sync_bn: bool, apart: bool = False
    ):
        self.forward: nn.Layer = network
        self._runtime = runtime
        self._mean: SharedMean | None = None
        if runtime.world == 1:
            return
        if sync_bn:
            _synchronise(network)
        memory = None if runtime.gpu is not None else shared_memory(runtime, sum(p.size for p in trained))
        if memory is not None:
            self._mean = SharedMean(trained, runtime, memory)
        elif not apart:
            if runtime.main and runtime.gpu is None:
                note("the ranks share no memory: gloo averages gradients; more than two ranks round otherwise then")
            self.forward = paddle.DataParallel(network)

    def hold(self, more_follow: bool) -> AbstractContextManager[object]:
        """Return the context of a backward pass.

        Of accumulated micro-batches only the last one averages gradients over the ranks.
        """
        waits = more_follow and isinstance(self.forward, paddle.DataParallel)
        return self.forward.no_sync() if waits else nullcontext()

    def average(self) -> None:
        """Replace every rank's gradients by their mean over the ranks, after the last backward pass of a step."""
        if self._mean is not None:
            self._mean()

    def mean(self, gradients: Sequence[Tensor | None]) -> None:
        """Replace every rank's gradients, one for each trained parameter, in place by their mean over the ranks.

        A gradient is None where a parameter has none, and then it has none on any rank.
        """
        if self._runtime.world == 1:
            return
        if self._mean is not None:
            self._mean.of(gradients)
        elif existing := [gradient for gradient in gradients if gradient is not None]:
            flat = paddle.concat([gradient.reshape([-1]) for gradient in existing])
            dist.all_reduce(flat)
            means = (flat / self._runtime.world).split([gradient.size for gradient in existing])
            for gradient, mean in zip(existing, means, strict=True):
                gradient.set_value(mean.reshape(gradient.shape))


class SharedMean:
    """Compute the mean of gradients over the ranks of one machine. Each rank computes it for its share of the numbers.

    Gloo sends gradients through sockets, which takes three times the processor time. The sum is taken in the order of
    the ranks, so that no bit depends on time. With two ranks the bits are those of `paddle.DataParallel`.
    """

    def __init__(self, parameters: list[Parameter], runtime: Runtime, memory: Floats):
        ends = np.cumsum([p.size for p in parameters])
        self._parameters = parameters
        self._pieces = [slice(int(end) - p.size, int(end)) for p, end in zip(parameters, ends, strict=True)]
        self._runtime, self._parts, self._means = runtime, memory[:-1], memory[-1]
        low, high = (int(ends[-1]) * rank // runtime.world for rank in (runtime.rank, runtime.rank + 1))
        self._share = slice(low, high)

    def __call__(self) -> None:
        self.of([parameter.grad for parameter in self._parameters])

    def of(self, gradients: Sequence[Tensor | None]) -> None:
        """Replace these gradients, one for each of the parameters or None, in place by their mean."""
        numbers_of_rank = self._parts[self._runtime.rank]
        pieces = [(g, piece) for g, piece in zip(gradients, self._pieces, strict=True) if g is not None]
        for gradient, piece in pieces:
            numbers_of_rank[piece] = np.from_dlpack(gradient.detach()).reshape(-1)
        barrier(self._runtime)
        mean = self._means[self._share]
        np.copyto(mean, self._parts[0][self._share])
        for numbers in self._parts[1:]:
            mean += numbers[self._share]
        mean *= 1 / self._runtime.world
        barrier(self._runtime)
        for gradient, piece in pieces:
            gradient.set_value(self._means[piece].reshape(gradient.shape))


def shared_memory(runtime: Runtime, size: int) -> Floats | None:
    """Return float32 [ranks + 1, size], the same memory in every rank, or None where the ranks cannot share memory.

    The memory is in no file system, because /dev/shm is small in a container. It is freed with the last rank, however
    that ends.
    """
    descriptor = os.memfd_create("ssld-gradients") if runtime.main and hasattr(os, "memfd_create") else -1
    address = [os.getpid(), descriptor, secrets.randbits(32)] if runtime.main else [0, 0, 0]
    pid, number, mark = sum_over_ranks(np.array(address, dtype=np.float64), runtime).astype(np.int64)
    shape, memory = (runtime.world + 1, size), None
    if descriptor >= 0:
        os.truncate(descriptor, 4 * math.prod(shape))
        os.pwrite(descriptor, np.uint32(mark).tobytes(), 0)
    barrier(runtime)
    with suppress(OSError, ValueError), open(f"/proc/{pid}/fd/{number}", "r+b") as file:
        bits = np.frombuffer(mmap.mmap(file.fileno(), 4 * math.prod(shape)), dtype=np.uint32)
        memory = bits.view(np.float32).reshape(shape) if bits[0] == mark else None
    is_shared = sum_over_ranks(np.array([memory is not None], dtype=np.float64), runtime)[0] == runtime.world
    if descriptor >= 0:
        os.close(descriptor)  # the mapped memory stays
    return memory if is_shared else None


def _synchronise(network: nn.Layer) -> None:
    """Let every batch norm of `network`, in place, take its training statistics over all ranks.

    A layer that stands in two places is replaced by one that does. Raises RunError for a layer with hooks, which the
    new layer would not call.
    """
    replaced: dict[int, RankBatchNorm] = {}
    for parent in network.sublayers(include_self=True):
        for name, layer in parent._sub_layers.items():
            if not isinstance(layer, BATCH_NORMS) or layer._use_global_stats:
                continue
            if layer._forward_pre_hooks or layer._forward_post_hooks:
                what = f"the batch norm {name!r} of a {type(parent).__name__} has hooks, which would not be called"
                raise RunError(f"sync_bn: {what}; remove them, or set sync_bn: false")
            parent._sub_layers[name] = replaced.setdefault(id(layer), RankBatchNorm(layer))


class RankBatchNorm(nn.SyncBatchNorm):
    """Normalise a batch with the mean and variance of all ranks' batches. Paddle's own SyncBatchNorm needs a GPU.

    The layer takes over the parameters, running statistics, options and keys of the layer that it replaces, which goes
    on to compute evaluations. It maps [N, C, ...], or [N, ..., C] where that layer has its channels last, to the same
    shape.
    """

    def __init__(self, layer: nn.Layer):
        nn.Layer.__init__(self)  # that of SyncBatchNorm would make parameters
        self.weight, self.bias = layer.weight, layer.bias
        self._mean, self._variance = layer._mean, layer._variance  # parameters without a gradient, as Paddle has them
        self._momentum, self._epsilon = layer._momentum, layer._epsilon
        self._evaluated = (layer,)  # in a tuple, because it is no part of the network
        layer.training = False

    def forward(self, x: Tensor) -> Tensor:
        layer = self._evaluated[0]
        if not self.training:
            return layer(x)
        layout = getattr(layer, "_data_format", None) or layer._data_layout
        channels = x.ndim - 1 if x.ndim > 2 and layout[-1] == "C" else 1
        others = [axis for axis in range(x.ndim) if axis != channels]
        shape = [-1 if axis == channels else 1 for axis in range(x.ndim)]
        mean = _SumOverRanks.apply(x.mean(others)) / dist.get_world_size()
        centred = x - mean.reshape(shape)
        variance = _SumOverRanks.apply((centred * centred).mean(others)) / dist.get_world_size()
        scale = paddle.rsqrt(variance + _single(self._epsilon))
        y = centred * (scale if self.weight is None else self.weight * scale).reshape(shape)
        y = y if self.bias is None else y + self.bias.reshape(shape)
        self._keep(self._mean, mean)
        self._keep(self._variance, variance)
        activation = getattr(layer, "_act", None)
        return getattr(F, activation)(y) if activation else y

    @paddle.no_grad()
    def _keep(self, running: Tensor, value: Tensor) -> None:
        share = _single(self._momentum)
        running.set_value(running * share + value.detach() * (1 - share))


def _single(number: float) -> float:
    """Round a number to 32 bits, as Paddle's batch norm does with momentum and epsilon whatever its tensors have."""
    return float(np.float32(number))


class _SumOverRanks(PyLayer):
    """Sum a tensor over the ranks. Its gradient is summed over the ranks too."""

    @staticmethod
    def forward(ctx: PyLayerContext, x: Tensor) -> Tensor:
        y = x.clone()
        dist.all_reduce(y)
        return y

    @staticmethod
    def backward(ctx: PyLayerContext, gradient: Tensor) -> Tensor:
        g = gradient.clone()
        dist.all_reduce(g)
        return g
