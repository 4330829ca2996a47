"""Losses that compare the images of a micro-batch with each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ssld.errors import RecipeError
from ssld.losses.base import About, Loss

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class PairLoss(Loss):
    """A loss of pairs of images: one image alone has no pair, and its loss would be 0 or not a number."""

    def helpers(self, about: About) -> nn.Layer | None:
        """None. RecipeError for micro-batches of one image."""
        check_pairs(self, about)
        return None


def check_pairs(loss: Loss, about: About) -> None:
    """RecipeError for micro-batches of one image, which a loss of pairs learns nothing from."""
    if about.micro < 2:
        what = f"it compares the images of a micro-batch, and a rank has {about.micro} in one"
        raise RecipeError(f"loss {type(loss).__name__.lower()}: {what}; raise data.batch, or lower optim.accumulate")
