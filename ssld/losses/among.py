"""Define losses that compare the images of a micro-batch with each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssld.errors import RecipeError
from ssld.losses.base import About, Loss


@dataclass(frozen=True)
class BatchLoss(Loss):
    """Compare the images of a micro-batch: of one image alone the loss would be 0 or not a number."""

    coupled: ClassVar = True

    def check(self, about: About) -> None:
        """Raise RecipeError for micro-batches of one image."""
        if about.micro < 2:
            what = f"it compares the images of a micro-batch, and a rank has {about.micro} in one"
            raise RecipeError(f"{what}; raise data.batch, or lower optim.accumulate")
