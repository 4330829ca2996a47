"""Turn the losses of micro-batches into one update of the parameters, over all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import paddle
from paddle import Tensor

from ssld.distill.dot import Dot
from ssld.distill.optim import Optimizer
from ssld.distill.parallel import Ranks
from ssld.interfaces import Parameter


class Update(Protocol):
    """Say what a training step does with its losses.

    `backward` is called with the losses of each micro-batch, and `share` is the number of micro-batches. `reached`
    returns whether a loss of this step reaches a parameter. `step` updates the parameters after the last micro-batch,
    from the mean over the ranks.
    """

    def backward(self, losses: Sequence[Tensor], share: int) -> None: ...

    def reached(self, parameter: Parameter) -> bool: ...

    def step(self) -> None: ...


class OneGradient:
    """Update from one gradient of one loss, for the optimisers of Paddle. `scaler` is that of mixed precision."""

    def __init__(self, optimizer: Optimizer, ranks: Ranks, scaler: paddle.amp.GradScaler):
        self.optimizer, self.ranks, self.scaler = optimizer, ranks, scaler

    def backward(self, losses: Sequence[Tensor], share: int) -> None:
        (loss,) = losses
        self.scaler.scale(loss / share).backward()

    def reached(self, parameter: Parameter) -> bool:
        return parameter.grad is not None

    def step(self) -> None:
        self.ranks.average()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.clear_grad(set_to_zero=False)  # by momentum, zeros would move a parameter that no loss reaches


class TwoGradients:
    """Update from two gradients of one forward pass, of the task and of the distillation, for `Dot`.

    Each rank computes both by itself, and their means over the ranks are computed afterwards. A data-parallel layer
    would average only the first of two backward passes.
    """

    def __init__(self, optimizer: Dot, ranks: Ranks):
        self.optimizer, self.ranks = optimizer, ranks

    def backward(self, losses: Sequence[Tensor], share: int) -> None:
        task, distil = (loss / share for loss in losses)
        parameters = self.optimizer.parameters
        of_task = paddle.grad([task], parameters, retain_graph=True, allow_unused=True)
        of_distil = paddle.grad([distil], parameters, allow_unused=True)
        self.optimizer.add(of_task, of_distil)

    def reached(self, parameter: Parameter) -> bool:
        return self.optimizer.reached(parameter)

    def step(self) -> None:
        self.ranks.mean(self.optimizer.task)
        self.ranks.mean(self.optimizer.distil)
        self.optimizer.step()
        self.optimizer.clear_grad()
