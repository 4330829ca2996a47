"""Say what a recipe will take, before it is run: `ssld plan`. It imports PaddlePaddle only to measure a speed."""

import shlex
from collections.abc import Sequence

from ssld import planning
from ssld.config import baseline
from ssld.config.recipe import Plan
from ssld.paths import data_root
from ssld.planning.parts import Part
from ssld.plans import load_plan
from ssld.spec.choices import Device


def plan(
    *, recipe: str, overrides: Sequence[str], cards: int, per_card: int | None, rate: str, device: Device
) -> planning.RecipePlan:
    """Count the images, steps, storage and hours of a recipe on `cards` GPUs (or processes) that share each batch.

    A card gets at most `per_card` images at a time. `rate` is the number of images a second on one card in the longest
    stage, or `measured`: then every kind of step is measured on this machine, on `device`. It raises RecipeError,
    DataError or RunError, one line, for what cannot be planned.
    """
    rate_value = planning.given_rate(rate)
    loaded = load_plan(recipe, overrides)
    parts = planning.parts_of(loaded, data_root(), cards, per_card)
    rates = planning.scaled_rates(parts, rate_value) if rate_value else planning.measured_rates(loaded, parts, device)
    rows = [planning.row(part, rates.get(part.title), cards) for part in parts]
    return {
        "recipe": loaded.name,
        "title": loaded.title,
        "digest": loaded.digest,
        "cards": cards,
        "per_card": per_card,
        "rate": {"source": "given" if rate_value else "measured here", "images_per_second": rate_value},
        "parts": rows,
        "total": planning.totals(rows),
        "storage": planning.storage(loaded, parts),
        "cost": planning.cost_line(parts),
        "command": _command(loaded, parts, recipe, overrides, cards),
        "linear_scaling": planning.linear_scaling(loaded, load_plan(recipe, [])) if overrides else [],
        "baseline": baseline.unequal(loaded, {part.name: part.steps or 0 for part in parts if part.kind == "stage"}),
    }


def _command(loaded: Plan, parts: Sequence[Part], recipe: str, overrides: Sequence[str], cards: int) -> str:
    """Return the command that runs the recipe so split, as typed in a shell."""
    accumulate = [
        f"stages.{part.name}.optim.accumulate={part.accumulate}"
        for part in parts
        if part.kind == "stage" and part.accumulate != loaded.stages[part.name].optim.accumulate
    ]
    ranks = ["--ranks", str(cards)] if cards > 1 else []
    return shlex.join(["ssld", "run", recipe, *overrides, *accumulate, *ranks])
