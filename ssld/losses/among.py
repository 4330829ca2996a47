"""Losses that compare the images of a micro-batch with each other."""

from __future__ import annotations

from dataclasses import dataclass

from ssld.errors import RecipeError
from ssld.losses.base import About, Loss


@dataclass(frozen=True)
class BatchLoss(Loss):
    """A loss of the images of a micro-batch together: of one image alone it would be 0 or not a number."""

    def check(self, about: About) -> None:
        """RecipeError for micro-batches of one image."""
        if about.micro < 2:
            what = f"it compares the images of a micro-batch, and a rank has {about.micro} in one"
            raise RecipeError(f"loss {type(self).__name__}: {what}; raise data.batch, or lower optim.accumulate")
