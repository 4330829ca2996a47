"""Modules that may be called: `ssld.run` and `ssld.distill` are rooms of this library and functions of `ssld.api`."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module that does, when it is called, what the function of `ssld.api` does that has the module's name."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        return getattr(import_module("ssld.api"), self.__name__.rpartition(".")[2])(*args, **named)


def make_callable(module: str) -> None:
    """Let the module of this name be called; the module calls this itself when it is imported."""
    sys.modules[module].__class__ = CallableModule
