"""Say which code a class of one's own is made of, so that a training does not go on with other code.

The digest covers the compiled code of the class and of the classes that it derives from, and what that code uses by
name: functions, classes and plain constants of its module, of the function around it, and of other modules of one's
own. It follows these as far as they reach. The standard library, installed packages, Paddle and this library are left
out, and so are values that are no plain constants, such as arrays.
"""

from __future__ import annotations

import dis
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from ssld.files import json_digest

OURS = ("paddle", "ssld")
PLAIN = (str, bytes, int, float, bool, type(None))


def code_digest(cls: type) -> str:
    """Return the sha256 over the code of a class. It does not depend on where the code stands, or on its comments."""
    return json_digest(_of_class(cls, {id(cls)}))


def is_ours(cls: type) -> bool:
    """Return whether a class belongs to Paddle or to this library."""
    return cls.__module__.partition(".")[0] in OURS


def _of_class(cls: type, seen: set[int]) -> dict[str, object]:
    """Return what the functions and constants of a class and of its bases are. `seen` has what was described before."""
    described: dict[str, object] = {}
    for base in (cls, *(base for base in cls.__mro__[1:] if _is_own(base.__module__))):
        for name, value in vars(base).items():
            if (function := _function(value)) is not None:
                described[f"{base.__qualname__}.{name}"] = _of_function(function, seen)
            elif not name.startswith("__"):
                described[f"{base.__qualname__}.{name}"] = _of_value(value, seen)
    return described


def _function(value: object) -> FunctionType | None:
    """Return the function that is the value of a class's attribute, or that a property or a class method wraps."""
    for name in ("__func__", "fget"):
        value = getattr(value, name, value)
    return value if isinstance(value, FunctionType) else None


def _of_function(function: FunctionType, seen: set[int]) -> list[object]:
    """Return what a function does, its defaults, and what it uses."""
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    used = {name: _of_value(value, seen) for name, value in sorted(_used(function).items())}
    return [_of_code(function.__code__), _of_value(defaults, seen), used]


def _of_value(value: object, seen: set[int]) -> object:
    """Return what a value is that code uses, or None where it is not looked at."""
    if isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_of_value(item, seen) for item in value]
    if not isinstance(value, type | FunctionType) or not _is_own(value.__module__):
        return None
    if id(value) in seen:
        return value.__qualname__
    seen.add(id(value))
    return _of_class(value, seen) if isinstance(value, type) else _of_function(value, seen)


def _used(function: FunctionType) -> dict[str, object]:
    """Map names that a function uses to values of its module, of the function around it and of one's own modules."""
    names, attributes = _names(function.__code__)
    used = {name: value for name, value in function.__globals__.items() if name in names}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # the cell is still empty
            used[name] = cell.cell_contents
    for name, module in list(used.items()):
        if isinstance(module, ModuleType) and _is_own(module.__name__):
            used |= {f"{name}.{part}": value for part, value in vars(module).items() if part in attributes}
    return used


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Return the global names and the attributes that a code uses, with those of the functions that it defines."""
    instructions = list(dis.get_instructions(code))
    names = {str(step.argval) for step in instructions if step.opname == "LOAD_GLOBAL"}
    names -= {str(step.argval) for step in instructions if step.opname == "STORE_GLOBAL"}  # a counter is no constant
    attributes = {str(step.argval) for step in instructions if step.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner_names, inner_attributes = _names(constant)
            names, attributes = names | inner_names, attributes | inner_attributes
    return names, attributes


def _of_code(code: CodeType) -> list[object]:
    """Return what a code does, without the place where it is written."""
    return [code.co_code.hex(), [_constant(c) for c in code.co_consts], list(code.co_names), list(code.co_varnames)]


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _of_code(value)
    # The order of a set differs between processes.
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def _is_own(module: str) -> bool:
    """Return whether a module is of one's own: of a notebook, or of a file that no package installed."""
    top = module.partition(".")[0]
    if top in OURS or top in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(top), "__file__", None)
    installed = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    return file is None or not any(Path(file).is_relative_to(folder) for folder in installed)
