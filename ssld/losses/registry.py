"""Find the losses: one file each in the folders of this package, and those that a recipe brings along."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType, ModuleType

from ssld.errors import RecipeError, did_you_mean, shown
from ssld.losses.base import Loss
from ssld.spec.ranges import kinds, told

FOLDERS = ("label", "logit", "multi", "self_", "feature", "relation", "contrast")
"""What a loss compares the student with: labels, the logits of a teacher, of several teachers, or of the student's own
past; feature maps; how images relate to each other; other images of a memory."""


@cache
def built_in() -> Mapping[str, type[Loss]]:
    """Return name -> class of the losses of this package, in the order of the folders; the name is that of the file."""
    classes = {}
    for folder in FOLDERS:
        for module in sorted(
            pkgutil.iter_modules([str(Path(__file__).parent / folder)]), key=lambda module: module.name
        ):
            (classes[module.name],) = defined(importlib.import_module(f"ssld.losses.{folder}.{module.name}"))
    return MappingProxyType(classes)


def defined(module: ModuleType) -> list[type[Loss]]:
    """Return the losses that a module itself defines, but for those whose name begins with an underscore."""
    classes = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Loss)]
    return [cls for cls in classes if cls.__module__ == module.__name__ and not cls.__name__.startswith("_")]


def with_own(modules: Mapping[str, ModuleType]) -> Mapping[str, type[Loss]]:
    """Return the built-in losses and those of a recipe's own files (`modules`: file -> module), by name.

    The name of one's own loss is that of its class in small letters: `class FocalLoss` is `focal_loss`. It raises
    RecipeError for a name that is taken, and for a class that lacks its decorator.
    """
    classes, origins = dict(built_in()), dict.fromkeys(built_in(), "ssld")
    for file, module in modules.items():
        for cls in defined(module):
            name = snake_case(cls.__name__)
            if name in classes:
                raise RecipeError(f"{file}: loss {name!r}: {origins[name]} has one of this name; rename the class")
            if "__dataclass_fields__" not in vars(cls):
                raise RecipeError(
                    f"{file}: class {cls.__name__}: is no dataclass; write @dataclass(frozen=True) above it"
                )
            classes[name], origins[name] = cls, file
    return classes


def snake_case(name: str) -> str:
    """Turn FocalLoss into focal_loss, and DKD into dkd."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def find(name: str, known: Mapping[str, type[Loss]] | None = None) -> type[Loss]:
    """Return the class of that name. It raises RecipeError, with the nearest name, when there is none."""
    known = built_in() if known is None else known
    if name not in known:
        hint = did_you_mean(name, known) or "; `ssld list losses` prints them"
        raise RecipeError(f"no loss named {shown(name)}{hint}")
    return known[name]


def summary(cls: type[Loss]) -> str:
    """Return the first line of the text at the head of the file that defines a loss, else of the class."""
    module = inspect.getmodule(cls)
    text = inspect.getdoc(module) if cls in built_in().values() else inspect.getdoc(cls)
    return (text or "").partition("\n")[0]


def options(cls: type[Loss]) -> dict[str, str]:
    """Return name -> type with its range, and default, of each option, as text."""
    return {field.name: _described(field, kinds(cls)[field.name]) for field in dataclasses.fields(cls)}


def _described(field: dataclasses.Field[object], kind: object) -> str:
    if field.default is not dataclasses.MISSING:
        return f"{told(kind)} = {field.default!r}"
    if field.default_factory is not dataclasses.MISSING:
        return f"{told(kind)} = {field.default_factory()!r}"
    return told(kind)
