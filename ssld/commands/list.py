"""List what there is: `ssld list`. PaddlePaddle is not imported: cards, recipes and source files are read as text."""

from collections.abc import Callable
from typing import Any

from ssld.config import cards, parse, recipe
from ssld.deploy.engines.registry import ENGINES, usable
from ssld.errors import RecipeError, did_you_mean
from ssld.losses import overview
from ssld.losses import registry as losses
from ssld.paths import shelf

Row = dict[str, Any]
KINDS: tuple[cards.Kind, ...] = ("plain", "ssld", "ssld_v2")


def list_(*, what: str) -> list[Row]:
    """Return the rows of one of LISTS, all with the same keys.

    It raises RecipeError, with the nearest name, for another name.
    """
    if what not in LISTS:
        raise RecipeError(f"no list named {what!r}{did_you_mean(what, LISTS)}; one of {', '.join(LISTS)}")
    return LISTS[what]()


def _models() -> list[Row]:
    return [
        {
            "name": name,
            "series": model.series,
            **_cost(model),
            "top-1 (published)": model.top1 if isinstance(model, cards.Model) else None,
        }
        for name, model in cards.named().items()
    ]


def _teachers() -> list[Row]:
    return [
        {"name": name, "arch": card.arch, **_cost(card), "top-1 (published)": card.top1}
        for name, card in cards.all_teachers().items()
    ]


def _students() -> list[Row]:
    return [
        {"name": name, "series": card.series, **_cost(card)} | {kind: _top1(card, kind) for kind in KINDS}
        for name, card in cards.all_students().items()
    ]


def _cost(card: cards.Model | cards.StudentCard | cards.TeacherCard) -> Row:
    """Count by one convention in every list: an operation is half a multiply-add of convolutions and linear layers."""
    return {"params": card.params, "FLOPs (2 x MACs)": 2 * card.macs, "input": card.input.size}


def _top1(card: cards.StudentCard, kind: cards.Kind) -> float | None:
    return card.published[kind].top1 if kind in card.published else None


def _recipes() -> list[Row]:
    rows = []
    for file in parse.recipes():
        plan = recipe.load(file)
        rows.append(
            {
                "name": file.relative_to(shelf("recipes")).as_posix(),
                "student": plan.student.title,
                "teacher": " + ".join(teacher.title for teacher in plan.all_teachers.values()) or None,
                "stages": " ".join(plan.stages),
                "claim (published)": plan.claim,
            }
        )
    return rows


def _losses() -> list[Row]:
    return [
        {"name": name, "summary": losses.summary(cls), "options": ", ".join(losses.options(cls)) or None}
        for name, cls in losses.built_in().items()
    ]


def _methods() -> list[Row]:
    ways = [overview.row_of_way(way) for way in overview.WAYS]
    return [*(overview.row(method) for method in overview.methods()), *ways]


def _engines() -> list[Row]:
    return [
        {"name": name, "usable here": "yes" if why is None else why, "summary": ENGINES.summary(name)}
        for name, why in usable().items()
    ]


LISTS: dict[str, Callable[[], list[Row]]] = {
    "models": _models,
    "teachers": _teachers,
    "students": _students,
    "losses": _losses,
    "methods": _methods,
    "recipes": _recipes,
    "engines": _engines,
}
