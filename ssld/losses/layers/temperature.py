"""Define the trained temperature of curriculum distillation, see `losses/logit/ctkd.py`."""

from __future__ import annotations

import paddle
from paddle import Tensor, nn
from paddle.nn.functional import sigmoid


class Temperature(nn.Layer):
    """Hold start + span sigmoid(theta), float [1]; theta begins at 1."""

    def __init__(self, start: float, span: float):
        super().__init__()
        self.start, self.span = start, span
        self.theta = self.create_parameter([1], default_initializer=nn.initializer.Constant(1.0))

    def forward(self, factor: float) -> Tensor:
        """Return the temperature; the gradient that theta gets is multiplied by `factor`."""
        theta = factor * self.theta + ((1 - factor) * self.theta).detach()
        return self.start + self.span * sigmoid(theta)

    @paddle.no_grad()
    def logged(self) -> dict[str, Tensor]:
        return {"temperature": self(1.0).squeeze(0)}
