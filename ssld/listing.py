"""What `ssld list` and `ssld show` print. No PaddlePaddle: cards, recipes and source files are read as text."""

from collections.abc import Callable, Sequence
from typing import Any

from ssld.config import cards, parse, recipe
from ssld.config.recipe import Plan
from ssld.deploy.engines.registry import ENGINES, usable
from ssld.errors import RecipeError, did_you_mean
from ssld.losses import registry as losses
from ssld.paths import shelf

Row = dict[str, Any]
KINDS: tuple[cards.Kind, ...] = ("plain", "ssld", "ssld_v2")


def load_plan(path: str, overrides: Sequence[str], *, smoke: bool = False) -> Plan:
    """A recipe, checked further than its types: losses and their options, engines, networks, cards (RecipeError)."""
    plan = recipe.load(path, list(overrides), smoke=smoke)
    for engine in plan.bench.engines:
        ENGINES.check(engine)
    cards.find_student(plan.student.arch)
    if plan.teacher:
        if plan.teacher.engine not in ("eager", "auto"):
            ENGINES.check(plan.teacher.engine)
        cards.find_student(plan.teacher.arch or cards.find_teacher(plan.teacher.card or "").arch)
    return plan


def _models() -> list[Row]:
    return [
        {"name": model.name, "series": model.series, **_cost(model), "top-1 (published)": model.top1}
        for model in cards.models().values()
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
    """One convention for every list: an operation is half a multiply-add of convolutions and linear layers."""
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
                "student": plan.student.arch,
                "teacher": plan.teacher and (plan.teacher.card or plan.teacher.arch),
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
    models = cards.models()
    if name.endswith((".yaml", ".yml")) or name in _recipe_names():
        plan = load_plan(name, overrides, smoke=smoke)
        tree = {**recipe.plan_tree(plan), "digest": plan.digest}
        return tree, f"{recipe.dump(plan)}digest: {plan.digest}"
    if name in losses.built_in():
        cls = losses.built_in()[name]
        tree = {"loss": name, "summary": losses.summary(cls), "options": losses.options(cls)}
    elif name in ENGINES.names():
        tree = {"engine": name, "summary": ENGINES.summary(name), "options": ENGINES.options(name)}
    elif name in models or name in cards.all_teachers():
        tree = _facts(models[name]) if name in models else {"arch": cards.find_teacher(name).arch}
        if name in cards.all_teachers():
            tree["as a teacher"] = _given(parse.to_plain(cards.find_teacher(name)))
    else:
        known = [*_recipe_names(), *models, *cards.all_teachers(), *losses.built_in(), *ENGINES.names()]
        raise RecipeError(f"nothing is named {name!r}{did_you_mean(name, known)}")
    return tree, parse.to_yaml(tree).rstrip()


def _facts(model: cards.Model) -> Row:
    """The card of an architecture; of its claims all under its own name, one under the name of a training."""
    tree = _given(parse.to_plain(cards.find_student(model.arch)))
    if model.name != model.arch:
        tree["published"] = {model.kind: tree["published"][model.kind]}
    return tree


def _given(tree: Any) -> Any:
    """Without the keys that a card leaves out."""
    if isinstance(tree, dict):
        return {key: _given(value) for key, value in tree.items() if value not in (None, {})}
    return tree


def _recipe_names() -> list[str]:
    return [file.relative_to(shelf("recipes")).with_suffix("").as_posix() for file in parse.recipes()]
