"""This module sums up a planned recipe in tables: a row for each part, sums, storage, cost."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from ssld.config import cost
from ssld.config.recipe import Plan
from ssld.data.imagenet import TRAIN_IMAGES
from ssld.planning.parts import Part, count_made


class Row(TypedDict):
    """Hold a part of a recipe. `hours` are those of all cards, which are assumed to share without loss; None is
    unknown.
    """

    part: str
    images: int | None
    counted: str
    epochs: float
    steps: int | None
    batch: int | None
    lr: float | None
    micro: int | None
    accumulate: int | None
    samples: int | None
    imagenet_epochs: float | None
    macs_per_image: float
    images_per_second: float | None
    hours: float | None
    gpu_hours_estimate: float | None


class Totals(TypedDict):
    """Hold the sums over the parts whose images are known. `without` names the others."""

    imagenet_epochs: float
    hours: float
    gpu_hours_estimate: float
    without: list[str]


class Rate(TypedDict):
    """Say where the speeds come from, and hold the rate that was given, if one was."""

    source: str
    images_per_second: float | None


class RecipePlan(TypedDict):
    """Hold everything that `ssld plan` says of a recipe. `storage` is in bytes; `command` is what a shell takes.

    `baseline` is the remark of `baseline.unequal`.
    """

    recipe: str
    title: str
    digest: str
    cards: int
    per_card: int | None
    rate: Rate
    parts: list[Row]
    total: Totals
    storage: dict[str, int]
    cost: str
    command: str
    linear_scaling: list[str]
    baseline: str | None


def row(part: Part, rate: float | None, cards: int) -> Row:
    """Return a part with its hours and the estimate of its V100 hours.

    The hours are those at `rate` images a second on each of `cards`.
    """
    samples = part.samples
    return {
        "part": part.title,
        "images": part.images,
        "counted": part.counted,
        "epochs": part.epochs,
        "steps": part.steps,
        "batch": part.batch,
        "lr": part.lr,
        "micro": part.micro,
        "accumulate": part.accumulate,
        "samples": samples,
        "imagenet_epochs": None if samples is None or part.kind != "stage" else samples / TRAIN_IMAGES,
        "macs_per_image": part.macs,
        "images_per_second": rate,
        "hours": None if samples is None or rate is None else samples / (rate * cards) / 3600,
        "gpu_hours_estimate": None if samples is None else cost.gpu_hours(samples * part.macs),
    }


def totals(rows: Sequence[Row]) -> Totals:
    """Return the sums over the parts whose images are known; `imagenet_epochs` of the stages alone."""
    return {
        "imagenet_epochs": _sum(row["imagenet_epochs"] for row in rows),
        "hours": _sum(row["hours"] for row in rows),
        "gpu_hours_estimate": _sum(row["gpu_hours_estimate"] for row in rows),
        "without": [row["part"] for row in rows if row["samples"] is None],
    }


def _sum(values: Iterable[float | None]) -> float:
    """Return the sum of the values that are known."""
    return sum(value for value in values if value is not None)


def storage(plan: Plan, parts: Sequence[Part]) -> dict[str, int]:
    """Return bytes: label caches to the byte, checkpoints and exports by the number of weights. Images are left out."""
    labels = sum((part.samples or 0) * part.record for part in parts)
    checkpoints = sum(cost.checkpoint_bytes(plan, stage, count_made) for stage in plan.stages.values())
    return {"label_caches": labels, "checkpoints": checkpoints, "exports": cost.export_bytes(plan, count_made)}


def cost_line(parts: Sequence[Part]) -> str:
    """Return the cost as the header of a recipe says it.

    The hours are an estimate and include minings and label caches.
    """
    trained = sum(part.samples or 0 for part in parts if part.kind == "stage")
    scored = sum(part.samples or 0 for part in parts if part.kind == "mine")
    hours = cost.gpu_hours(sum((part.samples or 0) * part.macs for part in parts))
    mined = f", {scored:,} images to score" if scored else ""
    epochs = f"{trained / TRAIN_IMAGES:,.0f} ImageNet-1k epochs ({trained:.3g} images)"
    return f"{epochs}{mined}: {hours:,.0f} V100 hours (estimate)"


# --- What follows writes the numbers for a person to read.


def tables(plan: RecipePlan) -> list[tuple[str, list[dict[str, str]]]]:
    """Return (title, rows of text) of the two tables: what is done, and how long it takes."""
    at_most = f", at most {plan['per_card']:,} images at a time" if plan["per_card"] else ""
    cards = f"{plan['cards']} card{'s' if plan['cards'] > 1 else ''}{at_most}"
    rate = plan["rate"]["images_per_second"]
    how = "measured here" if rate is None else f"{rate:g} images a second a card in the longest stage, as given"
    return [
        (plan["title"] or plan["recipe"], [_work(part) for part in plan["parts"]]),
        (f"{cards}; {how}", [_time(part) for part in [*plan["parts"], {"part": "all", **plan["total"]}]]),
    ]


def _work(part: Row) -> dict[str, str]:
    """Return a row of the first table."""
    micro = f"{part['micro']:,} x {part['accumulate']}" if part["micro"] else None
    return {
        "part": part["part"],
        "images": _whole(part["images"]),
        "counted": part["counted"],
        "epochs": f"{part['epochs']:g}",
        "samples": _whole(part["samples"]),
        "steps": _whole(part["steps"]),
        "batch": _whole(part["batch"]),
        "a card x accumulate": micro or "-",
        "lr": "-" if part["lr"] is None else f"{part['lr']:g}",
    }


def _time(part: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of the second table."""
    macs = part.get("macs_per_image")
    return {
        "part": part["part"],
        "GMACs an image": _short(macs and macs / 1e9),
        "images/s a card": _short(part.get("images_per_second")),
        "hours": _short(part["hours"]),
        "ImageNet-1k epochs": _short(part["imagenet_epochs"]),
        "V100 hours (estimate)": _short(part["gpu_hours_estimate"]),
    }


def facts(plan: RecipePlan) -> dict[str, str]:
    """Return what stands below the tables, a line each."""
    storage_sizes = plan["storage"]
    sizes = ", ".join(f"{name.replace('_', ' ')} {size / 1e9:,.2f} GB" for name, size in storage_sizes.items())
    lines = {"storage": f"{sizes}; images are left out", "cost": plan["cost"]}
    if plan["total"]["without"]:
        lines["without"] = f"{', '.join(plan['total']['without'])}: the number of its images is not known"
    if plan["baseline"]:
        lines["baseline"] = plan["baseline"]
    lines["run"] = plan["command"]
    if plan["linear_scaling"]:
        lines["another batch"] = f"linear scaling of lr gives {' '.join(plan['linear_scaling'])}"
    return lines


def _whole(number: int | None) -> str:
    """Write a whole number."""
    return "-" if number is None else f"{number:,}"


def _short(number: float | None) -> str:
    """Write a number with three digits."""
    if number is None:
        return "-"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
