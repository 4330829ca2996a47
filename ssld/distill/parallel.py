"""Several ranks: gradients are averaged by `paddle.DataParallel` or, on the CPU of one machine, through shared memory;
batch statistics, on request, by the layers here."""

import math
import mmap
import os
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist
import paddle.nn.functional as F
from paddle import Tensor, nn
from paddle.autograd import PyLayer

from ssld.distill.arrays import Array
from ssld.progress import note
from ssld.runtime import Runtime, barrier, sum_over_ranks


class Ranks:
    """What a training step of one rank shares with the others; alone, nothing.

    forward: what a step calls: `network` itself, or a data-parallel view of the same parameters. apart: gradients are
    taken apart and averaged by `mean`, so there is no such view.
    """

    def __init__(self, network: nn.Layer, trained: list[Any], runtime: Runtime, sync_bn: bool, apart: bool = False):
        self.forward: Any = network
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

    def hold(self, more_follow: bool) -> AbstractContextManager[Any]:
        """Around a backward pass: of accumulated micro-batches only the last one averages gradients over the ranks."""
        waits = more_follow and isinstance(self.forward, paddle.DataParallel)
        return self.forward.no_sync() if waits else nullcontext()

    def average(self) -> None:
        """After the last backward pass of a step: every rank's gradients become their mean over the ranks."""
        if self._mean is not None:
            self._mean()

    def mean(self, gradients: Sequence[Tensor | None]) -> None:
        """Every rank's gradients, one for each trained parameter, become their mean over the ranks, in place.

        None where a parameter has none; then it has none on any rank.
        """
        if self._runtime.world == 1:
            return
        if self._mean is not None:
            self._mean.of(gradients)
        elif found := [gradient for gradient in gradients if gradient is not None]:
            together = paddle.concat([gradient.reshape([-1]) for gradient in found])
            dist.all_reduce(together)
            parts = (together / self._runtime.world).split([gradient.size for gradient in found])
            for gradient, part in zip(found, parts, strict=True):
                gradient.set_value(part.reshape(gradient.shape))


class SharedMean:
    """The mean of gradients over the ranks of one machine, each rank taking it of its share of the numbers.

    Gloo sends gradients through sockets, in three times the processor time. The sum goes in the order of the ranks, so
    bits do not depend on time; with two ranks they are those of `paddle.DataParallel`.
    """

    def __init__(self, parameters: list[Any], runtime: Runtime, memory: Array):
        ends = np.cumsum([p.size for p in parameters])
        self._parameters = parameters
        self._pieces = [slice(int(end) - p.size, int(end)) for p, end in zip(parameters, ends, strict=True)]
        self._runtime, self._parts, self._means = runtime, memory[:-1], memory[-1]
        low, high = (int(ends[-1]) * rank // runtime.world for rank in (runtime.rank, runtime.rank + 1))
        self._share = slice(low, high)

    def __call__(self) -> None:
        self.of([parameter.grad for parameter in self._parameters])

    def of(self, gradients: Sequence[Tensor | None]) -> None:
        """The mean of these gradients, one for each of the parameters or None, in place."""
        mine = self._parts[self._runtime.rank]
        pieces = [(g, piece) for g, piece in zip(gradients, self._pieces, strict=True) if g is not None]
        for gradient, piece in pieces:
            mine[piece] = np.from_dlpack(gradient.detach()).reshape(-1)
        barrier(self._runtime)
        mean = self._means[self._share]
        np.copyto(mean, self._parts[0][self._share])
        for part in self._parts[1:]:
            mean += part[self._share]
        mean *= 1 / self._runtime.world
        barrier(self._runtime)
        for gradient, piece in pieces:
            gradient.set_value(self._means[piece].reshape(gradient.shape))


def shared_memory(runtime: Runtime, size: int) -> Array | None:
    """float32 [ranks + 1, size], the same memory in every rank; None where the ranks do not see each other's.

    It is in no file system (/dev/shm is small in a container), and gone with the last rank, however that ends.
    """
    held = os.memfd_create("ssld-gradients") if runtime.main and hasattr(os, "memfd_create") else -1
    mine = [os.getpid(), held, secrets.randbits(32)] if runtime.main else [0, 0, 0]
    pid, number, mark = sum_over_ranks(np.array(mine, dtype=np.float64), runtime).astype(np.int64)
    shape, found = (runtime.world + 1, size), None
    if held >= 0:
        os.truncate(held, 4 * math.prod(shape))
        os.pwrite(held, np.uint32(mark).tobytes(), 0)
    barrier(runtime)
    with suppress(OSError, ValueError), open(f"/proc/{pid}/fd/{number}", "r+b") as file:
        bits = np.frombuffer(mmap.mmap(file.fileno(), 4 * math.prod(shape)), dtype=np.uint32)
        found = bits.view(np.float32).reshape(shape) if bits[0] == mark else None
    everywhere = sum_over_ranks(np.array([found is not None], dtype=np.float64), runtime)[0] == runtime.world
    if held >= 0:
        os.close(held)  # what is mapped stays
    return found if everywhere else None


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
