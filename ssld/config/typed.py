"""Read the YAML of cards into a dataclass, and check it key by key.

Cards do not use pydantic, because it takes longer to import than all cards take to read.
"""

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args, get_origin

from ssld import yaml_text
from ssld.errors import RecipeError, did_you_mean, shown
from ssld.spec import ranges

T = TypeVar("T")
_CALLED: dict[type, str] = {dict: "a mapping", list: "a list"}


def read(file: Path, cls: type[T]) -> T:
    """Read one file. Raises RecipeError that names file and key for an unknown or missing key and for a wrong value."""
    tree = yaml_text.read_mapping(file, "a card")
    try:
        return build(tree, cls, "card")
    except RecipeError as error:
        raise RecipeError(f"{file}: {str(error).removeprefix('card.')}") from None


def build(tree: object, cls: type[T], where: str) -> T:
    """Return a mapping as a dataclass. Raises RecipeError as `read` does; key paths in it begin with `where`."""
    return _typed_fields(cls, _of(dict, tree, where), where)


def _typed(kind: object, value: object, where: str) -> object:
    """Return the value at the key path `where` as the annotated kind."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _ruled(ranges.rule_of(kind), options[0], value, where)
    if origin is Literal:
        if value not in options:
            raise RecipeError(f"{where}: should be {' or '.join(map(repr, options))}; got {shown(value)}")
        return value
    if type(None) in options:
        return None if value is None else _typed(options[0], value, where)
    if origin is dict:
        items = _of(dict, value, where).items()
        return {_typed(options[0], key, where): _typed(options[1], item, f"{where}.{key}") for key, item in items}
    if origin is tuple:
        values = _of(list, value, where)
        if len(values) != len(options):
            raise RecipeError(f"{where}: needs {len(options)} values; got {len(values)}")
        return tuple(_typed(option, item, where) for option, item in zip(options, values, strict=True))
    assert isinstance(kind, type), f"{where}: a card has no values of the kind {kind}"
    if is_dataclass(kind):
        return _typed_fields(kind, _of(dict, value, where), where)
    return _of(kind, value, where)


def _ruled(rule: ranges.Rule, kind: object, value: object, where: str) -> object:
    """Return the value as the kind under a rule, where a folded text loses the line break at its end."""
    if isinstance(rule, ranges.OF_LIST):
        value = _typed(kind, value, where)
    try:
        return rule.accept(kind, value.strip() if isinstance(value, str) else value)
    except ValueError as error:
        raise RecipeError(f"{where}: {error}; got {shown(value)}") from None


def _of(kind: type[T], value: object, where: str) -> T:
    if type(value) is not kind:
        raise RecipeError(f"{where}: should be {_CALLED.get(kind, kind.__name__)}; got {shown(value)}")
    return value


def _typed_fields(cls: type[T], tree: dict[str, object], where: str) -> T:
    schema = _schema(cls)  # type: ignore[arg-type]  # mypy: no hash in type[T]
    for key in tree:
        if key not in schema:
            raise RecipeError(f"{where}.{key}: unknown key{did_you_mean(key, schema)}")
    for name, (_, required) in schema.items():
        if required and name not in tree:
            raise RecipeError(f"{where}.{name}: this key is required; add it")
    return cls(**{key: _typed(schema[key][0], value, f"{where}.{key}") for key, value in tree.items()})


@cache
def _schema(cls: type) -> dict[str, tuple[object, bool]]:
    """Map the name of each field to (kind, required)."""
    kinds = ranges.kinds(cls)
    return {f.name: (kinds[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(cls)}
