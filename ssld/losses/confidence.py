"""Decide which images count in a term by how sure the teacher is of their class.

A hard one with value 0.95 is the mask of FixMatch (arXiv:2001.07685), with a teacher in the place of the network's own
past.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ssld.errors import RecipeError
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Share, check_fields


@dataclass(frozen=True)
class Confidence:
    """Count an image where the teacher's largest probability, at temperature 1, is `value` or more.

    kind: `hard` counts such an image whole, `soft` as much as that probability. Other images count 0.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "allow_inf_nan": False}

    value: Share
    kind: Literal["hard", "soft"] = "hard"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.kind == "hard" and not self.value:
            raise RecipeError("value: every image has 0 or more; give a larger number, or kind: soft")

    def weights(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return how much each image counts, [N] from 0 to 1, and the share of the images that count, a number.

        logits: of the teacher, [N, classes].
        """
        confidence = log_softmax(logits.detach()).max(axis=-1).exp()
        passed = (confidence >= self.value).astype(confidence.dtype)
        return (passed if self.kind == "hard" else passed * confidence), passed.mean()
