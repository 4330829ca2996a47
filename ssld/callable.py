"""Modules that may be called: `ssld.run` and `ssld.distill` are rooms of this library and functions of `ssld.api`.

Importing a module binds its name in its package, so a function of that name would be replaced by it.
"""

import inspect
import sys
from importlib import import_module
from types import FunctionType, ModuleType


class CallableModule(ModuleType):
    """Do, when the module is called, what the function of `ssld.api` does that has the module's name."""

    def __call__(self, *args: object, **named: object) -> object:
        return self._function()(*args, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        """Return the signature of the function, which a notebook shows."""
        return inspect.signature(self._function())

    def _function(self) -> FunctionType:
        function: FunctionType = getattr(import_module("ssld.api"), self.__name__.rpartition(".")[2])
        return function


def make_callable(module: str) -> None:
    """Let the module of this name be called; the module calls this itself when it is imported."""
    sys.modules[module].__class__ = CallableModule
