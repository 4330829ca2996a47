"""Keep a store with a row for every training image, the same on every rank."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn

from ssld.runtime import Runtime


class Memory(nn.Layer):
    """Keep float [rows, width] that a loss reads, and that is written between steps.

    What a loss writes waits in a queue until the optimiser has made its step. Then the writes of all ranks and
    micro-batches are gathered and made in the order of the global batch: the memory does not depend on the number of
    ranks, and the one of rank 0 is the whole truth for a checkpoint.
    """

    def __init__(self, start: Tensor):
        super().__init__()
        self.register_buffer("rows", start)
        self._queue: list[tuple[Tensor, Tensor]] = []

    def read(self, index: Tensor) -> Tensor:
        """Return the rows int64 [n] as float [n, width], without a gradient."""
        return paddle.index_select(self.rows, index.reshape([-1])).reshape([*index.shape, self.rows.shape[1]])

    def write(self, index: Tensor, value: Tensor) -> None:
        """Keep `value`, float [n, width], for the rows `index`, int64 [n], until `take` asks for it."""
        self._queue.append((index.detach(), value.detach()))

    def take(self, runtime: Runtime) -> list[tuple[Tensor, Tensor]]:
        """Return what all ranks have written since the last call, in the order of the global batch."""
        queue, self._queue = self._queue, []
        if runtime.world == 1:
            return queue
        gathered = [(_gathered(index), _gathered(value)) for index, value in queue]
        return [pair for indices, values in gathered for pair in zip(indices, values, strict=True)]

    def set(self, index: Tensor, value: Tensor) -> None:
        """Put `value`, float [n, width], in the rows `index`, int64 [n], now."""
        self.rows.set_value(paddle.scatter(self.rows, index, value.astype(self.rows.dtype)))


def _gathered(value: Tensor) -> list[Tensor]:
    values: list[Tensor] = []
    paddle.distributed.all_gather(values, value)
    return values
