"""Compute weights that change while a stage trains: closed forms of the step, so that a resumed run is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from ssld.errors import RecipeError
from ssld.spec.ranges import Epochs, Factor


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Give a weight at some epochs, and say how it goes from one to the next.

    at: pairs (epoch, weight) in rising order; before the first pair its weight holds, after the last pair that one's.
    between: how the weight moves between two pairs. per: `step` takes the epochs that have passed, a fraction, from 0;
    `epoch` takes the number of the running epoch, from 1, as the warm-ups of DKD and ReviewKD do.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    at: tuple[tuple[Epochs, Factor], ...]
    between: Literal["linear", "cosine", "constant"] = "linear"
    per: Literal["step", "epoch"] = "step"

    def __post_init__(self) -> None:
        epochs, weights = [epoch for epoch, _ in self.at], [weight for _, weight in self.at]
        if not self.at or sorted(set(epochs)) != epochs:
            raise RecipeError(f"at: the epochs {epochs} do not rise; give pairs such as [[0, 0], [20, 1]]")
        if not any(weights):
            raise RecipeError("at: every weight is 0; give at least one that is positive")

    def value(self, step: int, steps_per_epoch: int) -> float:
        """Return the weight of step 0, 1, 2 ... of a stage."""
        epoch = step / steps_per_epoch if self.per == "step" else step // steps_per_epoch + 1
        past, future = [pair for pair in self.at if pair[0] <= epoch], [pair for pair in self.at if pair[0] > epoch]
        if not past or not future:
            return past[-1][1] if past else future[0][1]
        (start, low), (end, high) = past[-1], future[0]
        share = (epoch - start) / (end - start)
        if self.between == "constant":
            return low
        if self.between == "cosine":
            share = 0.5 * (1 - math.cos(math.pi * share))
        return low + share * (high - low)


Weight = float | Schedule


def weight_at(weight: Weight, step: int, steps_per_epoch: int) -> float:
    """Return the number that a weight is at a step."""
    return weight.value(step, steps_per_epoch) if isinstance(weight, Schedule) else weight
