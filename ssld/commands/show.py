"""Show the facts behind a name: `ssld show`.

Cards and source files are read as text; PaddlePaddle is imported only for a method in a recipe, whose networks are
made.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssld import yaml_text
from ssld.config import cards, parse, recipe
from ssld.config.keys import plain
from ssld.deploy.engines.registry import ENGINES
from ssld.errors import RecipeError, did_you_mean
from ssld.losses import overview
from ssld.paths import shelf
from ssld.plans import load_plan


@dataclass(frozen=True)
class Facts:
    """Hold what is known behind a name: as a tree of plain values, and as text for a person."""

    tree: dict[str, Any]
    text: str


def show(*, name: str, overrides: Sequence[str], smoke: bool) -> Facts:
    """Return the facts behind a name: a recipe's whole plan, or what is known of a model, teacher, method or engine.

    `overrides` and `smoke` change a recipe. The first of the `overrides` may be a recipe, where the name is that of a
    method: then its terms in that recipe are looked at too. It raises RecipeError when nothing has that name.
    """
    models, methods, ways = cards.named(), overview.names(), {way.name: way for way in overview.WAYS}
    if name.endswith((".yaml", ".yml")) or name in _recipe_names():
        plan = load_plan(name, overrides, smoke=smoke)
        tree = {**recipe.plan_tree(plan), "digest": plan.digest}
        return Facts(tree, f"{recipe.dump(plan)}digest: {plan.digest}")
    if name in methods:
        tree = _given(overview.facts(overview.method(name)))
        stages = {}
        if overrides and "=" not in overrides[0]:
            stages = {"stages": _in_recipe(name, load_plan(overrides[0], overrides[1:], smoke=smoke))}
        return Facts({**tree, **stages}, f"{_in_words(tree)}{yaml_text.dump(stages) if stages else ''}".rstrip())
    if name in ways:
        tree = _given(overview.facts_of_way(ways[name]))
        return Facts(tree, _in_words(tree).rstrip())
    if name in ENGINES.names():
        tree = {"engine": name, "summary": ENGINES.summary(name), "options": ENGINES.options(name)}
    elif name in models or name in cards.all_teachers():
        tree = _facts(models[name]) if name in models else {"arch": cards.find_teacher(name).arch}
        if name in cards.all_teachers():
            tree["as a teacher"] = _given(plain(cards.find_teacher(name)))
    else:
        all_names = [*_recipe_names(), *models, *cards.all_teachers(), *methods, *ways, *ENGINES.names()]
        raise RecipeError(f"nothing is named {name!r}{did_you_mean(name, all_names)}")
    return Facts(tree, yaml_text.dump(tree).rstrip())


def _in_words(tree: dict[str, Any]) -> str:
    """Write facts as text for a person: sentences in lines of 100 letters, and each fact with parts on its own
    lines.
    """
    lines = []
    for key, value in tree.items():
        if isinstance(value, str) and "\n" in value:
            lines += [f"{key}:", textwrap.indent(value, "  ")]
        elif isinstance(value, dict | list):
            parts = [f"{part}: {text}" for part, text in value.items()] if isinstance(value, dict) else value
            lines += [f"{key}:", *(_wrapped(part, "    ", "  ") for part in parts)]
        else:
            shown = ("no", "yes")[value] if isinstance(value, bool) else value
            lines.append(_wrapped(f"{key}: {shown}", "  "))
    return "\n".join(lines) + "\n"


def _wrapped(text: str, later: str, first: str = "") -> str:
    return textwrap.fill(text, 100, initial_indent=first, subsequent_indent=later)


def _in_recipe(method: str, plan: recipe.Plan) -> dict[str, Any]:
    """Return what the terms of a method read, train and cost in each stage of a recipe."""
    from ssld.distill.terms import facts_of_terms  # this module makes networks

    return facts_of_terms(plan, method)


def _facts(model: cards.Model | cards.StudentCard) -> dict[str, Any]:
    """Return the card of an architecture; of its claims all under its own name, one under the name of a training."""
    tree = _given(plain(cards.find_student(model.arch)))
    if isinstance(model, cards.Model) and model.name != model.arch:
        tree["published"] = {model.kind: tree["published"][model.kind]}
    return tree


def _given(tree: Any) -> Any:
    """Return a tree without the keys that a card leaves out."""
    if isinstance(tree, dict):
        return {key: _given(value) for key, value in tree.items() if value not in (None, {}, [])}
    return tree


def _recipe_names() -> list[str]:
    return [file.relative_to(shelf("recipes")).with_suffix("").as_posix() for file in parse.recipes()]
