"""Images a second of each part of a recipe: given for one and scaled, or measured on this machine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ssld.config.recipe import Plan
from ssld.errors import RunError
from ssld.planning.parts import Part
from ssld.progress import note, progress

MOST = 64  # images at a time of a teacher that is measured alone


def given_rate(text: str) -> float | None:
    """The number behind --rate, None for `measured`. RunError for anything else."""
    if text == "measured":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise RunError(f"--rate {text}: give images a second above 0, or measured")
    return rate


def scaled_rates(parts: Sequence[Part], rate: float) -> dict[str, float]:
    """Images a second of each part: `rate` is that of the stage with most arithmetic, others go by multiply-adds."""
    stages = [part for part in parts if part.kind == "stage"]
    longest = max(stages, key=lambda part: (part.samples or 0) * part.macs)
    return {part.title: rate * longest.macs / part.macs for part in parts}


def measured_rates(plan: Plan, parts: Sequence[Part], device: str) -> dict[str, float]:
    """Images a second of each part on this machine; what would run the same steps is measured once."""
    from ssld.distill import training_rate as measure
    from ssld.runtime import start

    here, found, rates = start(device), dict[Any, float](), dict[str, float]()
    ways: dict[str, Callable[[Part, int], float]] = {
        "mine": lambda part, images: measure.mine_rate(plan, (plan.prepare or {})[part.name], images, here),
        "labels": lambda part, images: measure.teacher_rate(plan, part.name, images, here),
        "stage": lambda part, images: measure.stage_rate(plan, part.name, images, here),
    }
    for part in parts:
        if part.samples == 0:  # a stage that only sets its ranges
            continue
        key = same(plan, part)
        if key not in found:
            images = measure.at_a_time(part.macs, part.micro or MOST, here)
            with progress(0, f"measure {part.title}"):
                found[key] = ways[part.kind](part, images)
            note(f"measure {part.title}: {found[key]:.3g} images a second, {images} at a time")
        rates[part.title] = found[key]
    return rates


def same(plan: Plan, part: Part) -> tuple[Any, ...]:
    """What the speed of a part depends on."""
    if part.kind == "mine":
        step = (plan.prepare or {})[part.name]
        return part.kind, step.teacher, step.engine
    stage = plan.stages[part.name]
    if part.kind == "labels":
        return part.kind, stage.data.size
    optim = replace(stage.optim, lr=1, warmup_epochs=0, weight_decay=0, accumulate=1)
    kinds = stage.network, stage.train, str(stage.loss), bool(stage.labels), stage.quantize
    return part.kind, stage.data.size, *kinds, optim
