"""This module is a pickle machine that knows arrays alone.

A pickle is a program, and `pickle.load` calls whatever function it names. This machine knows the instructions that
write a dictionary of arrays, and no other. It looks names up in a table of six and does itself what they stand for; it
fills in only arrays and their types after they were made. Another name or instruction ends the reading before anything
is done for it. Whatever a file claims, what it becomes is no larger than a few times the file, and 200 MB.
"""

from __future__ import annotations

import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import numpy as np

from ssld.errors import WeightsError
from ssld.spec.printable import printable

MOST = 1_000_000
"""A pickle has at most so many instructions; a network of 1,000 arrays needs 20,000.

What one makes takes up to 200 bytes, where it is the mark, the empty dictionary or the memo of a single byte.
"""
_AXES = 32  # of a NumPy array
_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")


def unpickle(content: mmap.mmap | bytes) -> Any:
    """Return the dictionaries, lists, tuples, numbers, text and arrays (read-only) of a pickle of protocol 0 to 4.

    Raises WeightsError for a name or an instruction that arrays do not need; ValueError, TypeError, LookupError,
    OverflowError or MemoryError when the pickle is damaged.
    """
    return _plain(_Machine(len(content)).run(content))


def _plain(item: Any) -> Any:
    """Take the arrays of a dictionary, and of no deeper place, out of their boxes."""
    if isinstance(item, dict):
        return {key: value.value if isinstance(value, _Array) else value for key, value in item.items()}
    return item


@dataclass
class _Name:
    """Hold a name that a pickle may mention. It stands for no Python object."""

    text: str


@dataclass
class _Type:
    """Make a numpy.dtype from its code, then fill it in with the order of its bytes."""

    value: np.dtype

    def fill(self, machine: _Machine, state: Any) -> None:
        """Set the order of the bytes."""
        _, order, *rest = state
        if order not in ("<", ">", "=", "|") or any(part is not None for part in rest[:3]):
            raise ValueError("an array of records")
        self.value = self.value.newbyteorder(order)


@dataclass
class _Array:
    """Make a numpy.ndarray that is empty, then fill it in with shape, type and content, which it does not copy."""

    value: np.ndarray | None = None

    def fill(self, machine: _Machine, state: Any) -> None:
        """Set shape, type and content."""
        *_, shape, kind, fortran, content = state
        if not isinstance(kind, _Type):
            raise ValueError("an array without a type")
        content = machine.latin1(content) if isinstance(content, str) else content  # Python 2 wrote it
        _check_size(shape, kind.value, content)
        self.value = np.ndarray(shape, kind.value, content, order="F" if fortran else "C")


def _check_size(shape: Any, kind: np.dtype, content: Any) -> None:
    """Raise ValueError unless the content has just the bytes that shape and type need."""
    if not isinstance(content, bytes):
        raise ValueError("an array whose content is no bytes")
    check_shape(shape)
    if prod(shape) * kind.itemsize != len(content):
        raise ValueError(f"an array of {list(shape)} in {len(content)} bytes")


def check_shape(shape: Any) -> None:
    """Raise ValueError unless this is a shape that an array may have, whose product is soon computed."""
    is_shape = isinstance(shape, tuple) and len(shape) <= _AXES
    if not is_shape or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
        raise ValueError("an array of a shape that is none")


def _type(machine: _Machine, code: Any, *_: Any) -> _Type:
    """Make a numpy.dtype of numbers."""
    if code not in _TYPES:
        kind = repr(code) if isinstance(code, str) else f"a {type(code).__name__}"
        raise WeightsError(f"holds arrays of type {kind}, weights are numbers; get the file from its publisher")
    return _Type(np.dtype(code))


def _array(machine: _Machine, cls: Any, *_: Any) -> _Array:
    """Make an empty numpy.ndarray."""
    if cls != _Name("numpy.ndarray"):
        raise ValueError("an array of another class")
    return _Array()


def _number(machine: _Machine, kind: Any, content: Any) -> Any:
    """Make a number from its type and bytes."""
    array = _Array()
    array.fill(machine, ((), kind, False, content))
    assert array.value is not None
    return array.value.item()


def _dict(machine: _Machine, items: Any = ()) -> dict[Any, Any]:
    """Make a dictionary."""
    machine.spend(len(items))
    return dict(_checked_keys(items))


def _tuple(machine: _Machine, items: Any) -> tuple[Any, ...]:
    """Return a tuple as it is."""
    if type(items) is not tuple:
        raise ValueError("a tuple of something else")
    return items


def _bytes(machine: _Machine, text: Any, encoding: Any = "latin1") -> bytes:
    """Return what protocol 2 writes for the bytes of an array; other codecs are not needed."""
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding if isinstance(encoding, str) else 'a code that is no text'}")
    return machine.latin1(text)


_CALLS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _type,
    "collections.OrderedDict": _dict,
    "_codecs.encode": _bytes,
    **{f"numpy.{core}.multiarray._reconstruct": _array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
    **{f"{module}.tuple": _tuple for module in ("builtins", "__builtin__")},
}


def _checked_keys(pairs: Any) -> list[tuple[Any, Any]]:
    """Return the pairs. Raises ValueError for a key that is neither text nor a whole number."""
    pairs = [(key, value) for key, value in pairs]
    if any(type(key) not in (str, int) for key, _ in pairs):
        raise ValueError("a key that is no text")
    return pairs


class _Machine:
    """Hold a stack, marks on it, and a memo, which instructions read and write. `size` is the bytes of the file."""

    def __init__(self, size: int):
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.left = size

    def run(self, content: mmap.mmap | bytes) -> Any:
        """Run a pickle and return what is on top of the stack at its end."""
        instructions = pickletools.genops(content)  # type: ignore[arg-type]  # it reads the map of a file like a file
        for count, (instruction, argument, _) in enumerate(instructions):
            if count == MOST:
                raise WeightsError(f"has more than {MOST:,} instructions, which no weights need")
            if instruction.name not in _STEPS:
                _refuse(f"use the pickle instruction {instruction.name}")
            _STEPS[instruction.name](self, argument)
        return self.stack[-1]

    def spend(self, units: int) -> None:
        """Count what is copied: everything in the file is copied once.

        A file that asks for more would fill the memory.
        """
        self.left -= units
        if self.left < 0:
            raise ValueError("it grows when it is read")

    def latin1(self, text: str) -> bytes:
        """Return the bytes of a text."""
        if not isinstance(text, str):
            raise ValueError("bytes of what is no text")
        self.spend(len(text))
        return text.encode("latin1")

    def pop(self) -> Any:
        """Take the top of the stack."""
        return self.stack.pop()

    def since_mark(self) -> list[Any]:
        """Take everything above the last mark."""
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items


def _refuse(what: str) -> NoReturn:
    """Raise the error of a file that wants to do something."""
    raise WeightsError(f"it wants to {what}, which no weights need; do not open it with other tools either")


def _push(machine: _Machine, value: Any) -> None:
    """Put a value on the stack."""
    machine.stack.append(value)


def _name(machine: _Machine, argument: str | None) -> None:
    """Push a name. GLOBAL has module and name in its argument, STACK_GLOBAL on the stack."""
    if argument is None:
        parts = (machine.pop(), machine.pop())
        if not all(isinstance(part, str) for part in parts):  # of nested tuples `str` would not end
            raise ValueError("a name that is no text")
        argument = " ".join(reversed(parts))
    text = argument.replace(" ", ".")
    if text != "numpy.ndarray" and text not in _CALLS:
        _refuse(f"run {printable(text)}")
    _push(machine, _Name(text))


def _call(machine: _Machine, _: Any) -> None:
    """Do what a name stands for."""
    arguments, name = machine.pop(), machine.pop()
    if not (isinstance(name, _Name) and name.text in _CALLS and type(arguments) is tuple):
        _refuse("call what is no function")
    _push(machine, _CALLS[name.text](machine, *arguments))


def _fill(machine: _Machine, _: Any) -> None:
    """Fill in an array or a type."""
    state, item = machine.pop(), machine.stack[-1]
    if not isinstance(item, (_Array, _Type)):
        _refuse(f"change a {type(item).__name__.strip('_').lower()}")
    item.fill(machine, state)


def _put_items(machine: _Machine, items: list[Any]) -> None:
    """Put keys and values into the dictionary on top of the stack."""
    target = machine.stack[-1]
    if type(target) is not dict:
        raise ValueError(f"items of a {type(target).__name__}")
    target.update(_checked_keys(zip(items[::2], items[1::2], strict=True)))


def _append(machine: _Machine, items: list[Any]) -> None:
    """Put entries into the list on top of the stack."""
    target = machine.stack[-1]
    if type(target) is not list:
        raise ValueError(f"entries of a {type(target).__name__}")
    target.extend(items)


def _take(machine: _Machine, count: int) -> list[Any]:
    """Take the last `count` things from the stack."""
    return [machine.pop() for _ in range(count)][::-1]


def _collect(make: Callable[[list[Any]], Any], count: int | None = None) -> Callable[[_Machine, Any], None]:
    """Return an instruction that makes one thing of the last `count` on the stack, or of all since the mark."""
    return lambda machine, _: _push(machine, make(machine.since_mark() if count is None else _take(machine, count)))


def _remember(machine: _Machine, place: int | None) -> None:
    """Keep the top of the stack in the memo."""
    machine.memo[len(machine.memo) if place is None else place] = machine.stack[-1]


_LITERALS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8"
)
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **{name: lambda machine, argument: None for name in ("PROTO", "FRAME", "STOP")},
    **{name: _push for name in _LITERALS.split()},
    "NONE": lambda machine, _: _push(machine, None),
    "NEWTRUE": lambda machine, _: _push(machine, True),
    "NEWFALSE": lambda machine, _: _push(machine, False),
    "EMPTY_DICT": lambda machine, _: _push(machine, {}),
    "EMPTY_LIST": lambda machine, _: _push(machine, []),
    "EMPTY_TUPLE": lambda machine, _: _push(machine, ()),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "LIST": _collect(list),
    "TUPLE": _collect(tuple),
    "DICT": _collect(lambda items: dict(_checked_keys(zip(items[::2], items[1::2], strict=True)))),
    **{f"TUPLE{count}": _collect(tuple, count) for count in (1, 2, 3)},
    "APPEND": lambda machine, _: _append(machine, _take(machine, 1)),
    "APPENDS": lambda machine, _: _append(machine, machine.since_mark()),
    "SETITEM": lambda machine, _: _put_items(machine, _take(machine, 2)),
    "SETITEMS": lambda machine, _: _put_items(machine, machine.since_mark()),
    **{name: _remember for name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")},
    **{name: lambda machine, place: _push(machine, machine.memo[place]) for name in ("GET", "BINGET", "LONG_BINGET")},
    "GLOBAL": _name,
    "STACK_GLOBAL": _name,
    "REDUCE": _call,
    "BUILD": _fill,
}
