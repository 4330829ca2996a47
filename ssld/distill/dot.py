"""Update parameters with DOT, an optimiser that keeps the task and the distillation apart (ICCV 2023).

It keeps two buffers of momentum: one of the gradient of the terms that learn from labels, one of the gradient of the
terms that learn from a teacher. With the momentum m and a number delta it computes

    u_task   <- (m - delta) u_task   + g_task + decay w
    u_distil <- (m + delta) u_distil + g_distil
    w        <- w - rate (u_task + u_distil)

so that the distillation, whose gradients agree over more steps, leads. Weight decay belongs to the task. A parameter
that only one side reaches, such as a layer of a loss, moves by plain momentum m with its decay. Formula and numbers are
those of the official code (github.com/megvii-research/mdistiller): delta is 0.075 on CIFAR-100 and 0.09 on ImageNet.
The weight decay of a parameter that lacks one of the gradients is a choice of this implementation. With delta 0 the
update is plain momentum, except for rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import paddle
from paddle import Tensor

from ssld.errors import RunError
from ssld.interfaces import Parameter

Gradients = list[Tensor | None]


class Dot:
    """Optimise parameters with `add`, `step` and `clear_grad`.

    `add` takes the gradients of both sides of each micro-batch, `step` updates the parameters, and `clear_grad` ends
    the step. `parameters` are updated, each with its own multiple of the rate (`optimize_attr`). `rate` is the learning
    rate. `decay` maps the name of a parameter to its weight decay; the others have none. The state has two buffers for
    each parameter, which start as zeros. Saving and reading it keeps every bit.
    """

    def __init__(
        self, parameters: Sequence[Parameter], rate: float, momentum: float, delta: float, decay: Mapping[str, float]
    ):
        self.parameters, self.momentum, self.delta, self.decay = list(parameters), momentum, delta, dict(decay)
        self._rate = rate
        self.task: Gradients = [None] * len(self.parameters)
        self.distil: Gradients = [None] * len(self.parameters)
        self._u_task = [paddle.zeros_like(parameter).detach() for parameter in self.parameters]
        self._u_distil = [paddle.zeros_like(parameter).detach() for parameter in self.parameters]

    def set_lr(self, rate: float) -> None:
        """Set the learning rate."""
        self._rate = rate

    def get_lr(self) -> float:
        """Return the learning rate."""
        return self._rate

    def add(self, task: Sequence[Tensor | None], distil: Sequence[Tensor | None]) -> None:
        """Add gradients of both sides, one for each parameter.

        A gradient is None where the side does not reach the parameter.
        """
        self.task, self.distil = _sums(self.task, task), _sums(self.distil, distil)

    def reached(self, parameter: Parameter) -> bool:
        """Return whether either side has a gradient of the parameter."""
        number = next(n for n, candidate in enumerate(self.parameters) if candidate is parameter)
        return self.task[number] is not None or self.distil[number] is not None

    @paddle.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for parameter, task, distil, u_task, u_distil in zip(
            self.parameters, self.task, self.distil, self._u_task, self._u_distil, strict=True
        ):
            if task is None and distil is None:
                continue
            delta = 0.0 if task is None or distil is None else self.delta
            gradient = distil if task is None else task
            decay = self.decay.get(parameter.name, 0.0)
            u_task.set_value((self.momentum - delta) * u_task + (gradient + decay * parameter if decay else gradient))
            change = u_task
            if task is not None and distil is not None:
                u_distil.set_value((self.momentum + delta) * u_distil + distil)
                change = u_task + u_distil
            rate = self._rate * parameter.optimize_attr["learning_rate"]
            parameter.set_value(parameter - rate * change)

    def clear_grad(self, set_to_zero: bool = False) -> None:
        """Forget the gradients. `set_to_zero` is accepted because optimisers of Paddle take it, and has no effect."""
        self.task, self.distil = [None] * len(self.parameters), [None] * len(self.parameters)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the two buffers of each parameter by name."""
        buffers = {"task": self._u_task, "distil": self._u_distil}
        return {
            f"{parameter.name}_{side}": buffer
            for side, of_side in buffers.items()
            for parameter, buffer in zip(self.parameters, of_side, strict=True)
        }

    def set_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy the values of saved buffers. Raises RunError for buffers of other parameters."""
        buffers = self.state_dict()
        if buffers.keys() != state.keys():
            name_of_one_side = min(buffers.keys() ^ state.keys())
            raise RunError(
                f"optimizer state: {name_of_one_side!r} is on one side alone; the checkpoint is of another network"
            )
        for name, buffer in buffers.items():
            buffer.set_value(state[name])


def _sums(sums: Gradients, gradients: Sequence[Tensor | None]) -> Gradients:
    pairs = zip(sums, gradients, strict=True)
    return [b if a is None else a if b is None else a + b for a, b in pairs]
