"""Define what a recipe may ask for of a stage that makes the student ready for int8."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.spec.ranges import Count, CountOrNone

if TYPE_CHECKING:
    from ssld.config.recipe import Plan


def formats(plan_precision: str) -> set[str]:
    """Return the formats in which a network that was trained in int8 may be exported."""
    return {"int8", "paddle2_int8"} | ({"tensorrt"} if plan_precision == "int8" else set())


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Let a stage train its network as the int8 file will compute it. With `epochs: 0` it only sets the ranges."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    teacher: Literal["float", "teacher"] = "float"  # the network that teaches: that of `init`, or the recipe's teacher
    keep: CountOrNone = 0  # layers that stay float: those whose rounding changes the logits most
    images: Count = 512  # training images, cropped as in an evaluation, that give ranges and sensitivities
    recalibrate: CountOrNone = 2048  # images that give batch norms their statistics after the last step; 0 is off


def check_quantize(plan: Plan, where: str) -> None:
    """Check that a quantised stage starts from a trained student, and that no other stage starts from it.

    Raises RecipeError otherwise.
    """
    for name, stage in plan.stages.items():
        path, start = f"{where}: stages.{name}", plan.stages.get(stage.init)
        if start is not None and start.quantize:
            raise RecipeError(
                f"{path}.init: {stage.init!r} is quantised, and what is cannot be trained on; name another"
            )
        if stage.quantize is None:
            continue
        if stage.network != "student" or start is None:
            raise RecipeError(f"{path}.quantize: starts from a trained student; name the stage that trains it in init")
        if stage.train != "all" or stage.optim.ema:
            raise RecipeError(
                f"{path}.quantize: trains the whole network and no average of it; drop train and optim.ema"
            )
    float_formats = [form for form in plan.export.formats if form not in formats(plan.export.plan_precision)]
    if plan.stages[plan.last].quantize and float_formats:
        what = f"{float_formats[0]} is of float networks; after a quantised stage give int8"
        raise RecipeError(f"{where}: export.formats: {what}")


def shrink(quantize: Quantize, images: int) -> Quantize:
    """Return the block as a smoke test needs it."""
    return replace(quantize, images=images, recalibrate=min(images, quantize.recalibrate))
