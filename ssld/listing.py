"""What `ssld list` and `ssld show` print. No PaddlePaddle: cards, recipes and source files are read as text."""

from collections.abc import Callable, Sequence
from typing import Any

from ssld.config import cards, parse, recipe
from ssld.config.recipe import Plan
from ssld.deploy.engines.registry import ENGINES, usable
from ssld.errors import RecipeError, did_you_mean
from ssld.losses.registry import LOSSES, check_terms
from ssld.paths import shelf

Row = dict[str, Any]


def load_plan(path: str, overrides: Sequence[str], *, smoke: bool = False) -> Plan:
    """A recipe, checked further than its types: losses and their options, engines, networks, cards (RecipeError)."""
    plan = recipe.load(path, list(overrides), smoke=smoke)
    for name, stage in plan.stages.items():
        check_terms(stage.loss, f"{path}: stages.{name}.loss")
    for engine in plan.bench.engines:
        ENGINES.check(engine)
    cards.find_student(plan.student.arch)
    if plan.teacher:
        cards.find_student(plan.teacher.arch or cards.find_teacher(plan.teacher.card or "").arch)
    return plan


def _models() -> list[Row]:
    return [
        {
            **{key: row[key] for key in ("name", "arch", "series")},
            "params": row["params"],
            "macs": row["macs"],
            "size": row["size"],
            "top1 (published)": row["top1"],
        }
        for row in cards.models()
    ]


def _teachers() -> list[Row]:
    return [
        {
            "name": name,
            "arch": card.arch,
            "top1 (published)": card.top1,
            "params": card.params,
            "macs": card.macs,
            "size": card.input.size,
        }
        for name, card in cards.all_teachers().items()
    ]


def _students() -> list[Row]:
    return [
        {
            "name": name,
            "params": card.params,
            "macs": card.macs,
            **{kind: _top1(card, kind) for kind in ("plain", "ssld", "ssld_v2")},
        }
        for name, card in cards.all_students().items()
    ]


def _top1(card: cards.StudentCard, kind: str) -> float | None:
    return card.published[kind].top1 if kind in card.published else None


def _recipes() -> list[Row]:
    rows = []
    for file in parse.recipes():
        plan = recipe.load(file)
        rows.append(
            {
                "name": file.relative_to(shelf("recipes")).as_posix(),
                "student": plan.student.arch,
                "teacher": plan.teacher and (plan.teacher.card or plan.teacher.arch),
                "stages": " ".join(plan.stages),
                "claim (published)": plan.claim,
            }
        )
    return rows


def _losses() -> list[Row]:
    return [
        {"name": name, "summary": LOSSES.summary(name), "options": ", ".join(LOSSES.options(name)) or None}
        for name in LOSSES.names()
    ]


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
    "recipes": _recipes,
    "engines": _engines,
}


def describe(name: str, overrides: Sequence[str], *, smoke: bool = False) -> tuple[Row, str]:
    """The facts behind a name, as a tree and as text. Raises RecipeError when nothing has that name."""
    claims = {row["name"]: row["arch"] for row in cards.models()}
    if name.endswith((".yaml", ".yml")) or name in _recipe_names():
        plan = load_plan(name, overrides, smoke=smoke)
        tree = {**recipe.plan_tree(plan), "digest": plan.digest}
        return tree, f"{recipe.dump(plan)}digest: {plan.digest}"
    if name in LOSSES.names() or name in ENGINES.names():
        registry = LOSSES if name in LOSSES.names() else ENGINES
        tree = {registry.kind: name, "summary": registry.summary(name), "options": registry.options(name)}
    elif name in claims or name in cards.all_teachers():
        tree = (
            parse.to_plain(cards.find_student(claims[name]))
            if name in claims
            else {"arch": cards.find_teacher(name).arch}
        )
        if name in cards.all_teachers():
            tree["as a teacher"] = parse.to_plain(cards.find_teacher(name))
    else:
        known = [*_recipe_names(), *claims, *cards.all_teachers(), *LOSSES.names(), *ENGINES.names()]
        raise RecipeError(f"nothing is named {name!r}{did_you_mean(name, known)}")
    return tree, parse.to_yaml(tree).rstrip()


def _recipe_names() -> list[str]:
    return [file.relative_to(shelf("recipes")).with_suffix("").as_posix() for file in parse.recipes()]
