"""What `ssld plan` says: a row for each part, sums, storage, and what to type. Paddle only where it measures."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from ssld.config import cost
from ssld.config.recipe import Plan
from ssld.data.imagenet import TRAIN_IMAGES
from ssld.errors import RunError
from ssld.listing import load_plan
from ssld.paths import data_root
from ssld.planning.parts import Part, parts_of
from ssld.planning.rates import given_rate, measured_rates, scaled_rates
from ssld.planning.split import linear_scaling
from ssld.progress import table


def plan_recipe(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that `ssld plan` prints. RecipeError, DataError or RunError, one line, for what cannot be planned."""
    rate = given_rate(args.rate)
    for option, value in (("--cards", args.cards), ("--per-card", args.per_card)):
        if value is not None and value < 1:
            raise RunError(f"{option} {value}: give a whole number from 1 up")
    plan = load_plan(args.recipe, args.overrides)
    parts = parts_of(plan, data_root(), args.cards, args.per_card)
    rates = scaled_rates(parts, rate) if rate else measured_rates(plan, parts, args.device)
    rows = [row(part, rates.get(part.title), args.cards) for part in parts]
    return {
        "recipe": plan.name,
        "title": plan.title,
        "digest": plan.digest,
        "cards": args.cards,
        "per_card": args.per_card,
        "rate": {"source": "given" if rate else "measured here", "images_per_second": rate},
        "parts": rows,
        "total": totals(rows),
        "storage": storage(plan, parts),
        "cost": cost_line(parts),
        "command": command(plan, parts, args),
        "linear_scaling": linear_scaling(plan, load_plan(args.recipe, [])) if args.overrides else [],
    }


def command(plan: Plan, parts: Sequence[Part], args: argparse.Namespace) -> str:
    """What runs the recipe so split, as typed in a shell."""
    accumulate = [
        f"stages.{part.name}.optim.accumulate={part.accumulate}"
        for part in parts
        if part.kind == "stage" and part.accumulate != plan.stages[part.name].optim.accumulate
    ]
    ranks = ["--ranks", str(args.cards)] if args.cards > 1 else []
    return shlex.join(["ssld", "run", args.recipe, *args.overrides, *accumulate, *ranks])


def row(part: Part, rate: float | None, cards: int) -> dict[str, Any]:
    """A part as JSON. `hours` on all cards, which are thought to share without loss; `gpu_hours` is the estimate."""
    samples, named = part.samples, ("images", "counted", "epochs", "steps", "batch", "lr", "micro", "accumulate")
    return {
        "part": part.title,
        **{name: getattr(part, name) for name in named},
        "samples": samples,
        "imagenet_epochs": None if samples is None or part.kind != "stage" else samples / TRAIN_IMAGES,
        "macs_per_image": part.macs,
        "images_per_second": rate,
        "hours": None if samples is None or rate is None else samples / (rate * cards) / 3600,
        "gpu_hours_estimate": None if samples is None else cost.gpu_hours(samples * part.macs),
    }


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums over the parts whose images are known; `imagenet_epochs` of the stages alone."""
    names = ("imagenet_epochs", "hours", "gpu_hours_estimate")
    known = {name: [r[name] for r in rows if r[name] is not None] for name in names}
    unknown = [r["part"] for r in rows if r["samples"] is None]
    return {**{name: sum(values) for name, values in known.items()}, "without": unknown}


def storage(plan: Plan, parts: Sequence[Part]) -> dict[str, int]:
    """Bytes: label caches to the byte, checkpoints and exports by the number of weights. Images are left out."""
    labels = sum((part.samples or 0) * part.record for part in parts)
    checkpoints = sum(cost.checkpoint_bytes(plan, stage) for stage in plan.stages.values())
    return {"label_caches": labels, "checkpoints": checkpoints, "exports": cost.export_bytes(plan)}


def cost_line(parts: Sequence[Part]) -> str:
    """The cost as the header of a recipe tells it; hours are the estimate, minings and label caches included."""
    trained = sum(part.samples or 0 for part in parts if part.kind == "stage")
    scored = sum(part.samples or 0 for part in parts if part.kind == "mine")
    hours = cost.gpu_hours(sum((part.samples or 0) * part.macs for part in parts))
    mined = f", {scored:,} images to score" if scored else ""
    epochs = f"{trained / TRAIN_IMAGES:,.0f} ImageNet-1k epochs ({trained:.3g} images)"
    return f"{epochs}{mined}: {hours:,.0f} V100 hours (estimate)"


# --- for a person


def show(told: dict[str, Any]) -> dict[str, str]:
    """Print the tables; returns what stands below them."""
    for title, rows in tables(told):
        table(rows, title)
        sys.stdout.write("\n")
    return facts(told)


def tables(told: dict[str, Any]) -> list[tuple[str, list[dict[str, str]]]]:
    """(title, rows of text) of the two tables: what is done, and how long it takes."""
    at_most = f", at most {told['per_card']:,} images at a time" if told["per_card"] else ""
    cards = f"{told['cards']} card{'s' if told['cards'] > 1 else ''}{at_most}"
    given = told["rate"]["images_per_second"]
    how = "measured here" if given is None else f"{given:g} images a second a card in the longest stage, as given"
    return [
        (told["title"] or told["recipe"], [_work(found) for found in told["parts"]]),
        (f"{cards}; {how}", [_time(found) for found in [*told["parts"], {"part": "all", **told["total"]}]]),
    ]


def _work(found: dict[str, Any]) -> dict[str, str]:
    micro = f"{found['micro']:,} x {found['accumulate']}" if found["micro"] else None
    return {
        "part": found["part"],
        "images": _whole(found["images"]),
        "counted": found["counted"],
        "epochs": f"{found['epochs']:g}",
        "samples": _whole(found["samples"]),
        "steps": _whole(found["steps"]),
        "batch": _whole(found["batch"]),
        "a card x accumulate": micro or "-",
        "lr": "-" if found["lr"] is None else f"{found['lr']:g}",
    }


def _time(found: dict[str, Any]) -> dict[str, str]:
    macs = found.get("macs_per_image")
    return {
        "part": found["part"],
        "GMACs an image": _short(macs and macs / 1e9),
        "images/s a card": _short(found.get("images_per_second")),
        "hours": _short(found["hours"]),
        "ImageNet-1k epochs": _short(found["imagenet_epochs"]),
        "V100 hours (estimate)": _short(found["gpu_hours_estimate"]),
    }


def facts(told: dict[str, Any]) -> dict[str, str]:
    """What stands below the tables, a line each."""
    kept = told["storage"]
    sizes = ", ".join(f"{name.replace('_', ' ')} {size / 1e9:,.2f} GB" for name, size in kept.items())
    lines = {"storage": f"{sizes}; images are left out", "cost": told["cost"]}
    if told["total"]["without"]:
        lines["without"] = f"{', '.join(told['total']['without'])}: the number of its images is not known"
    lines["run"] = told["command"]
    if told["linear_scaling"]:
        lines["another batch"] = f"linear scaling of lr gives {' '.join(told['linear_scaling'])}"
    return lines


def _whole(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _short(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
