"""Cards: fact sheets of architectures (students/) and of trainings used as teachers (teachers/). No PaddlePaddle.

A model name means three things: an architecture (code, `ssld/models`), a training of it (weights) and a claim about
it (a number and where it was published). A student card holds the architecture's facts and its published claims; a
teacher card one training.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from ssld.errors import RecipeError, did_you_mean
from ssld.paths import shelf

Channels = tuple[float, float, float]
Card = TypeVar("Card", "StudentCard", "TeacherCard")


@dataclass(frozen=True, kw_only=True)
class Input:
    """A crop of `size` pixels after the shorter side became `resize`; pixels / 255, then `mean` and `std`."""

    size: int
    resize: int
    mean: Channels
    std: Channels


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The file is looked for under the weights folder (`paths.weights_root`); `sha256` is null until it was pinned."""

    url: str
    path: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One published training of an architecture. `top1`, `top5`: percent on the ImageNet validation set.

    `weights` maps the flavour of the file to its address: develop (keys that `models.keymap` reads), '2.0' (keys of
    PaddleClas 2.0), static (an archive of 1.x). `teacher` names a teacher card, `recipe` a file of recipes/. `input`
    and `macs` stand only where they differ from the card's.
    """

    name: str
    top1: float
    source: str
    top5: float | None = None
    weights: dict[str, str] = field(default_factory=dict)
    teacher: str | None = None
    recipe: str | None = None
    input: Input | None = None
    macs: int | None = None
    notes: str | None = None


@dataclass(frozen=True, kw_only=True)
class StudentCard:
    """`params` leave out BN statistics; `macs` count convolutions and linear layers at `input.size`."""

    arch: str
    series: str
    params: int
    macs: int
    input: Input
    published: dict[str, Claim]
    notes: str | None = None


@dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """`top1`, `top5`: percent on the ImageNet validation set at `input`."""

    arch: str
    top1: float
    source: str
    weights: Weights
    input: Input
    params: int
    macs: int
    top5: float | None = None
    trained_on: str | None = None
    notes: str | None = None


def find_student(arch: str) -> StudentCard:
    """The card of an architecture, or a .yaml file. Raises RecipeError, with the nearest name, when there is none."""
    return _find("students", StudentCard, arch)


def find_teacher(name: str) -> TeacherCard:
    """The card of a teacher, by name or as the path of a .yaml file. Raises RecipeError when there is none."""
    return _find("teachers", TeacherCard, name)


def all_students() -> dict[str, StudentCard]:
    """Architecture -> card, smaller networks first within a series."""
    cards = {name: find_student(name) for name in _files("students")}
    return dict(sorted(cards.items(), key=lambda item: (item[1].series, item[1].params)))


def all_teachers() -> dict[str, TeacherCard]:
    """Teacher -> card, best last."""
    cards = {name: find_teacher(name) for name in _files("teachers")}
    return dict(sorted(cards.items(), key=lambda item: item[1].top1))


def models() -> list[dict[str, Any]]:
    """One row for each published training: name, arch, series, params, macs, size, top1 (percent)."""
    return [
        {
            "name": claim.name,
            "arch": card.arch,
            "series": card.series,
            "params": card.params,
            "macs": claim.macs or card.macs,
            "size": (claim.input or card.input).size,
            "top1": claim.top1,
        }
        for card in all_students().values()
        for claim in card.published.values()
    ]


def _files(kind: str) -> dict[str, Path]:
    return {file.stem: file for file in sorted(shelf(kind).glob("*.yaml"))}


def _find(kind: str, cls: type[Card], name: str) -> Card:
    if name.endswith(".yaml"):
        return read(Path(name), cls)
    files = _files(kind)
    if name not in files:
        raise RecipeError(f"no card named {name!r} in {kind}/{did_you_mean(name, files)}; see `ssld list {kind}`")
    return read(files[name], cls)


def read(file: Path, cls: type[Card]) -> Card:
    """Read one card. Raises RecipeError that names file and key when a key is unknown, missing or of the wrong type."""
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return _typed(cls, tree, "card")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
    except RecipeError as error:
        raise RecipeError(f"{file}: {str(error).removeprefix('card.')}") from None


# Cards are checked by hand: pydantic alone would take longer to import than all cards take to read.
def _typed(kind: Any, value: Any, where: str) -> Any:
    """The value, which stands under the key path `where`, as the annotated kind."""
    options = get_args(kind)
    if type(None) in options:
        return None if value is None else _typed(options[0], value, where)
    if is_dataclass(kind):
        return _typed_fields(kind, _of(dict, value, where), where)
    if get_origin(kind) is dict:
        return {
            _of(str, key, where): _typed(options[1], item, f"{where}.{key}")
            for key, item in _of(dict, value, where).items()
        }
    if get_origin(kind) is tuple:
        if len(_of(list, value, where)) != len(options):
            raise RecipeError(f"{where}: needs {len(options)} values; got {len(value)}")
        return tuple(_typed(option, item, where) for option, item in zip(options, value, strict=True))
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
    """Field -> (kind, required)."""
    hints = get_type_hints(cls)
    return {f.name: (hints[f.name], f.default is MISSING and f.default_factory is MISSING) for f in fields(cls)}
