"""Read the YAML of cards into a dataclass, and check it key by key.

Cards do not use pydantic, because it takes longer to import than all cards take to read.
"""

from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

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


def build(tree: Any, cls: type[T], where: str) -> T:
    """Return a mapping as a dataclass. Raises RecipeError as `read` does; key paths in it begin with `where`."""
    typed: T = _typed(cls, tree, where)
    return typed


def _typed(kind: Any, value: Any, where: str) -> Any:
    """Return the value at the key path `where` as the annotated kind."""
    options = get_args(kind)
    if get_origin(kind) is Literal:
        if value not in options:
            raise RecipeError(f"{where}: should be {' or '.join(map(repr, options))}; got {value!r}")
        return value
    if type(None) in options:
        return None if value is None else _typed(options[0], value, where)
    if is_dataclass(kind):
        return _typed_fields(kind, _of(dict, value, where), where)
    if get_origin(kind) is dict:
        return {
            _typed(options[0], key, where): _typed(options[1], item, f"{where}.{key}")
            for key, item in _of(dict, value, where).items()
        }
    if get_origin(kind) is tuple:
        if len(_of(list, value, where)) != len(options):
            raise RecipeError(f"{where}: needs {len(options)} values; got {len(value)}")
        return tuple(_typed(option, item, where) for option, item in zip(options, value, strict=True))
    if kind is str:
        return _of(str, value, where).strip()  # a folded text ends with a line break
    return float(value) if kind is float and type(value) is int else _of(kind, value, where)


def _of(kind: type, value: Any, where: str) -> Any:
    if type(value) is not kind:
        raise RecipeError(f"{where}: should be {kind.__name__}; got {value!r}")
    return value


def _typed_fields(cls: Any, tree: dict[Any, Any], where: str) -> Any:
    schema = _schema(cls)
    for key in tree:
        if key not in schema:
            raise RecipeError(f"{where}.{key}: unknown key{did_you_mean(key, schema)}")
    for name, (_, required) in schema.items():
        if required and name not in tree:
            raise RecipeError(f"{where}.{name}: this key is required; add it")
    return cls(**{key: _typed(schema[key][0], value, f"{where}.{key}") for key, value in tree.items()})


@cache
def _schema(cls: Any) -> dict[str, tuple[Any, bool]]:
    """Map the name of each field to (kind, required)."""
    hints = get_type_hints(cls)
    return {f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(cls)}
