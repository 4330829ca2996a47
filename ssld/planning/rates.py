"""This module gives the images a second of each part of a recipe: scaled from one given rate, or measured here."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ssld.config.recipe import Plan
from ssld.planning.parts import Part
from ssld.progress import note, progress

MOST = 64  # a teacher that is measured alone gets at most so many images at a time


def given_rate(text: str) -> float | None:
    """Return the number behind --rate, None for `measured`."""
    return None if text == "measured" else float(text)


def scaled_rates(parts: Sequence[Part], rate: float) -> dict[str, float]:
    """Return the images a second of each part.

    `rate` is that of the stage with most arithmetic; the others follow from their multiply-adds.
    """
    stages = [part for part in parts if part.kind == "stage"]
    longest = max(stages, key=lambda part: (part.samples or 0) * part.macs)
    return {part.title: rate * longest.macs / part.macs for part in parts}


def measured_rates(plan: Plan, parts: Sequence[Part], device: str) -> dict[str, float]:
    """Measure the images a second of each part on this machine; parts that run the same steps are measured once."""
    from ssld.distill import training_rate
    from ssld.runtime import start

    runtime, rate_of_key, rates = start(device), dict[tuple[object, ...], float](), dict[str, float]()
    measurements: dict[str, Callable[[Part, int], float]] = {
        "mine": lambda part, images: training_rate.mine_rate(plan, (plan.prepare or {})[part.name], images, runtime),
        "labels": lambda part, images: training_rate.teacher_rate(plan, part.name, images, runtime),
        "stage": lambda part, images: training_rate.stage_rate(plan, part.name, images, runtime),
    }
    for part in parts:
        if part.samples == 0:  # this stage only sets its ranges
            continue
        key = same(plan, part)
        if key not in rate_of_key:
            images = training_rate.at_a_time(part.macs, part.micro or MOST, runtime)
            with progress(0, f"measure {part.title}"):
                rate_of_key[key] = measurements[part.kind](part, images)
            note(f"measure {part.title}: {rate_of_key[key]:.3g} images a second, {images} at a time")
        rates[part.title] = rate_of_key[key]
    return rates


def same(plan: Plan, part: Part) -> tuple[object, ...]:
    """Return what the speed of a part depends on."""
    if part.kind == "mine":
        step = (plan.prepare or {})[part.name]
        return part.kind, step.teacher, step.engine
    stage = plan.stages[part.name]
    if part.kind == "labels":
        return part.kind, stage.data.size
    optim = replace(stage.optim, lr=1, warmup_epochs=0, weight_decay=0, accumulate=1)
    kinds = stage.network, stage.train, str(stage.loss), bool(stage.labels), stage.quantize
    return part.kind, stage.data.size, *kinds, optim
