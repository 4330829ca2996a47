"""Read the YAML of cards into a dataclass, and check it key by key.

Cards do not use pydantic, because it takes longer to import than all cards take to read.
"""

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from ssld.errors import RecipeError, did_you_mean

T = TypeVar("T")


def read(file: Path, cls: type[T]) -> T:
    """Read one file. Raises RecipeError that names file and key when a key is unknown, missing or of the wrong type."""
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return build(tree, cls, "card")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
    except RecipeError as error:
        raise RecipeError(f"{file}: {str(error).removeprefix('card.')}") from None


def build(tree: object, cls: type[T], where: str) -> T:
    """Return a mapping as a dataclass. Raises RecipeError as `read` does; key paths in it begin with `where`."""
    return _typed_fields(cls, _of(dict, tree, where), where)


def _typed(kind: object, value: object, where: str) -> object:
    """Return the value at the key path `where` as the annotated kind."""
    origin, options = get_origin(kind), get_args(kind)
    if origin is Literal:
        if value not in options:
            raise RecipeError(f"{where}: should be {' or '.join(map(repr, options))}; got {value!r}")
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
    if kind is str:
        return _of(str, value, where).strip()  # a folded text ends with a line break
    return float(value) if kind is float and type(value) is int else _of(kind, value, where)


def _of(kind: type[T], value: object, where: str) -> T:
    if type(value) is not kind:
        raise RecipeError(f"{where}: should be {kind.__name__}; got {value!r}")
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
    hints = get_type_hints(cls)
    return {f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(cls)}
