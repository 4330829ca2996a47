"""Register the entries of a folder.

A folder is a registry: it has one file for each entry, and the file's name is the entry's. Names, summaries and option
fields are read from the source text, so that `ssld list` and the check of a recipe never import PaddlePaddle. The
module itself is imported when the entry is built.
"""

import ast
import importlib
from dataclasses import MISSING, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from ssld.errors import RecipeError, did_you_mean


class Registry:
    """Hold the entries of one package folder: `LOSSES = Registry("loss", __file__, "ssld.losses")`.

    A module of the folder registers exactly one class with `@LOSSES.register`; the module's name is the entry's name.
    Modules named `registry` or starting with an underscore are not entries.
    """

    def __init__(self, kind: str, file: str, package: str):
        self.kind, self.package, self._folder = kind, package, Path(file).parent
        self._classes: dict[str, type] = {}

    def register(self, cls: type) -> type:
        """Register a class under the name of its module. Raises RecipeError where a module registers two."""
        name = cls.__module__.rpartition(".")[2]
        if self._classes.setdefault(name, cls) is not cls:
            raise RecipeError(f"{self.kind} {name!r}: registered twice; one file holds one {self.kind}")
        return cls

    @cached_property
    def _sources(self) -> dict[str, ast.Module]:
        files = sorted(f for f in self._folder.glob("*.py") if f.stem != "registry" and not f.stem.startswith("_"))
        return {f.stem: ast.parse(f.read_text(encoding="utf-8")) for f in files}

    def names(self) -> list[str]:
        """Return the names of all entries in alphabetical order."""
        return list(self._sources)

    def check(self, name: str) -> None:
        """Check that there is such an entry. Raises RecipeError, with the nearest name, when there is none."""
        if name not in self._sources:
            raise RecipeError(f"no {self.kind} named {name!r}{did_you_mean(name, self._sources)}")

    def summary(self, name: str) -> str:
        """Return the first line of the entry's module docstring."""
        self.check(name)
        return (ast.get_docstring(self._sources[name]) or "").partition("\n")[0]

    def options(self, name: str) -> dict[str, str]:
        """Map each field of the registered class to the text of its annotation, without importing the class."""
        self.check(name)
        classes = [node for node in self._sources[name].body if isinstance(node, ast.ClassDef) and _registered(node)]
        return {
            item.target.id: ast.unparse(item.annotation)
            for node in classes
            for item in node.body
            if isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and not ast.unparse(item.annotation).startswith("ClassVar")
        }

    def get(self, name: str) -> type:
        """Import the module of an entry and return its class. Raises RecipeError for an unknown name."""
        self.check(name)
        importlib.import_module(f"{self.package}.{name}")
        return self._classes[name]

    def build(self, name: str, **options: Any) -> Any:
        """Construct an entry. Raises RecipeError, which names the option, for an unknown or a missing one."""
        cls = self.get(name)
        fields_by_name = {f.name: f for f in fields(cls)}
        for option in options:
            if option not in fields_by_name:
                raise RecipeError(f"{self.kind} {name!r}: no option {option!r}{did_you_mean(option, fields_by_name)}")
        for option, field in fields_by_name.items():
            if option not in options and field.default is MISSING and field.default_factory is MISSING:
                raise RecipeError(f"{self.kind} {name!r}: option {option!r} is required")
        return cls(**options)


def _registered(node: ast.ClassDef) -> bool:
    return any(isinstance(d, ast.Attribute) and d.attr == "register" for d in node.decorator_list)
