"""Define what is known of a key of a recipe besides its type.

It is whether the key entered digests from the start, and whether it changes what is trained. A key is a field of a
dataclass, and what is known of it stands there. Nothing depends on a bare word that may stand anywhere in a tree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, field
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

from ssld.losses import Term

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T")
Tree: TypeAlias = dict[str, object]
"""A block of a recipe as YAML has it: keys with mappings, lists, text, numbers, true, false and null."""


def key(
    default: T | EllipsisType = ...,
    *,
    factory: Callable[[], T] | None = None,
    later: bool = False,
    trains: bool = True,
    was: object = ...,
) -> T:
    """Make a field of a block of a recipe. Without `default` and `factory` the key is required.

    A key that came `later` is younger than recorded results; at its default it enters no digest, so that their digests
    hold. A key that `trains` changes what is trained or evaluated; other keys change only what a run costs, shows or
    writes. `was` is the default that recorded results have, where it is another one now: it stands for the default in
    digests.
    """
    metadata = {"later": later, "trains": trains} | ({} if was is ... else {"was": was})
    if factory is not None:
        return field(default_factory=factory, metadata=metadata)
    if not isinstance(default, EllipsisType):
        return field(default=default, metadata=metadata)
    required: T = field(metadata=metadata)  # a field is no T; type checkers take it for one, as that of `dataclasses`
    return required


@overload
def plain(value: DataclassInstance) -> Tree: ...
@overload
def plain(value: object) -> object: ...
def plain(value: object) -> object:
    """Turn dataclasses, tuples and mappings into plain dicts and lists, in the order of the fields."""
    if isinstance(value, Term):
        return value.tree()
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@overload
def digested(value: DataclassInstance, name: str = "") -> Tree: ...
@overload
def digested(value: object, name: str = "") -> object: ...
def digested(value: object, name: str = "") -> object:
    """Return `plain` as it enters a digest: without keys that came later and have their defaults.

    `name` is the name of a term.
    """
    if isinstance(value, Term):
        return value.tree(name)
    if dataclasses.is_dataclass(value):
        values = {f: _recorded(f, getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {f.name: digested(item) for f, item in values.items() if not _silent(f, item)}
    if isinstance(value, dict):
        return {name: digested(item, name) for name, item in value.items()}
    return [digested(item) for item in value] if isinstance(value, list | tuple) else value


def trained_leaves(value: object, path: str = "") -> list[tuple[str, object]]:
    """Return (key path, value) of every leaf that changes what is trained or evaluated, in order."""
    if isinstance(value, Term):
        value = value.tree()
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.metadata.get("trains", True)}
    if isinstance(value, dict) and value:
        return [pair for name, item in value.items() for pair in trained_leaves(item, f"{path}.{name}".lstrip("."))]
    return [(path, plain(value))]


def _default(f: dataclasses.Field[object]) -> object:
    return f.default_factory() if f.default_factory is not MISSING else f.default


def _recorded(f: dataclasses.Field[object], value: object) -> object:
    """Return a value as recorded results have it."""
    return f.metadata["was"] if "was" in f.metadata and plain(value) == plain(_default(f)) else value


def _silent(f: dataclasses.Field[object], value: object) -> bool:
    return bool(f.metadata.get("later")) and plain(value) == plain(_recorded(f, _default(f)))
