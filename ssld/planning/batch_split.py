"""This module splits a global batch on fewer cards into micro-batches.

It also scales the learning rate for another batch.
"""

import math

from ssld.config import cost
from ssld.config.recipe import Plan, Stage
from ssld.errors import RunError


def split(where: str, stage: Stage, cards: int, per_card: int | None) -> int:
    """Return the number of micro-batches of a step that keep the global batch on `cards`.

    Without `per_card` it is that of the recipe; with it the fewest that leave a card at most so many images at a time.
    Raises RunError, with a batch that fits, where there is no such number.
    """
    batch = stage.data.batch
    if per_card is None:
        if batch % (cards * stage.optim.accumulate):
            what = f"{where}.data.batch {batch} does not divide into {cards} cards x {stage.optim.accumulate}"
            raise RunError(f"--cards {cards}: {what}; {other_batch(where, stage, cards * stage.optim.accumulate)}")
        return stage.optim.accumulate
    if batch % cards:
        what = f"{where}.data.batch {batch} does not divide among the cards"
        raise RunError(f"--cards {cards}: {what}; {other_batch(where, stage, cards)}")
    share = batch // cards
    parts = next(parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= per_card)
    if share > per_card and 2 * (share // parts) <= per_card:
        what = f"the {share} images of a card ({where}.data.batch {batch}) divide into {share // parts} at a time"
        raise RunError(f"--per-card {per_card}: {what}; {other_batch(where, stage, cards * per_card)}")
    return parts


def other_batch(where: str, stage: Stage, multiple: int) -> str:
    """Return the nearest batch that divides, with the rate of linear scaling, as overrides to type."""
    batch = max(1, round(stage.data.batch / multiple)) * multiple
    return f"a batch that does: {batch_override(where, stage, batch)}"


def batch_override(where: str, stage: Stage, batch: int) -> str:
    """Return the overrides for another batch of a stage."""
    lr = cost.scaled_lr(stage.optim.lr, stage.data.batch, batch)
    return f"{where}.data.batch={batch} {where}.optim.lr={lr:.6g}"


def linear_scaling(plan: Plan, published: Plan) -> list[str]:
    """Return the overrides that linear scaling gives for each stage with another batch than that of the recipe's file.

    A stage whose rate already is the scaled one is left out.
    """
    overrides = []
    for name, stage in plan.stages.items():
        first = published.stages[name]
        scaled_lr = cost.scaled_lr(first.optim.lr, first.data.batch, stage.data.batch)
        if stage.data.batch != first.data.batch and not math.isclose(stage.optim.lr, scaled_lr, rel_tol=1e-4):
            overrides.append(batch_override(f"stages.{name}", first, stage.data.batch))
    return overrides
