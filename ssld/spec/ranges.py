"""Say in a type which values a key, an option or an argument may have, each rule once.

    flip: Share = 0.5  # Share = Annotated[float, Range(least=0, most=1)]

Recipes, sweeps, cards, losses, the command line and the functions that a notebook calls all ask the rule in the type.
docs/recipes.md shows each type as `told` words it.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass, fields
from functools import cache, partial
from numbers import Real
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

from ssld.errors import RecipeError, shown
from ssld.spec.numerals import number


class Rule:
    """Hold what a value must be. A rule of a value knows its type too; a rule of a list (OF_LIST) sees it checked."""

    def accept(self, kind: Any, value: Any) -> Any:
        """Return the value as one of the type `kind`. It raises ValueError, `should be ...`, for any other."""
        raise NotImplementedError

    def told(self, kind: Any) -> str:
        """Return the type `kind` under this rule in words, such as `integer from 1 to 8`."""
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, kind: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        accept = partial(self.accept, kind)
        if isinstance(self, OF_LIST):
            return core_schema.no_info_after_validator_function(accept, handler(kind))
        return core_schema.no_info_plain_validator_function(accept)


@dataclass(frozen=True, kw_only=True)
class Range(Rule):
    """Bound a number from both sides: it is `least` or more, or above `above`; it is `most` or less, or below `below`.

    Text and truth values are no numbers, and no range holds infinity or NaN. A whole number may be written as a float.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def __post_init__(self) -> None:
        if (self.least is None) == (self.above is None) or (self.most is None) == (self.below is None):
            raise TypeError("a range has one lower and one upper end")

    def accept(self, kind: Any, value: Any) -> Any:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if not is_number or not self.holds(value) or (kind is int and value != int(value)):
            raise ValueError(f"should be {_article(self.told(kind))}")
        return kind(value) if kind in (int, float) else value

    def holds(self, value: Any) -> bool:
        """Return whether a number lies in the range."""
        from_below = value > self.above if self.least is None else value >= self.least
        return bool(from_below and (value < self.below if self.most is None else value <= self.most))

    def told(self, kind: Any) -> str:
        what = "integer" if kind is int else "number"
        if self.least is not None and self.most is not None:
            return f"{what} from {self.least:,} to {self.most:,}"
        low = f"above {self.above:,}" if self.least is None else f"from {self.least:,}"
        return f"{what} {low}, {f'below {self.below:,}' if self.most is None else f'at most {self.most:,}'}"


@dataclass(frozen=True, kw_only=True)
class Words(Rule):
    """Ask for text of at most `most` characters, without control characters, that is more than blanks.

    With `free` it may be empty and have several lines.
    """

    most: int = 1000
    free: bool = False

    def accept(self, kind: Any, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("should be text; quote what looks like a number or a list")
        controls = {chr(code) for code in (*range(32), *range(127, 160))} - (set("\t\n") if self.free else set())
        if len(value) > self.most or controls & {*value} or not (self.free or value.strip()):
            what = "" if self.free else "in one line, not empty, "
            raise ValueError(f"should be text {what}without control characters, of at most {self.most:,} characters")
        return value

    def told(self, kind: Any) -> str:
        return "text"


@dataclass(frozen=True, kw_only=True)
class Several(Rule):
    """Ask for a list of `least` entries or more."""

    least: int = 1

    def accept(self, kind: Any, value: Any) -> Any:
        if len(value) < self.least:
            raise ValueError(f"should have {self.least} or more entries")
        return value

    def told(self, kind: Any) -> str:
        return f"{told(kind)}, {self.least} or more"


@dataclass(frozen=True, kw_only=True)
class Rising(Rule):
    """Ask for numbers none of which is smaller than the one before, or equal to it where the order is `strict`."""

    strict: bool = False

    def accept(self, kind: Any, value: Any) -> Any:
        if sorted(set(value) if self.strict else value) != [*value]:
            raise ValueError(f"should rise{', without a number twice' if self.strict else ''}")
        return value

    def told(self, kind: Any) -> str:
        return f"{told(kind)}, rising"


OF_LIST = (Several, Rising)
_NAMES: dict[Any, str] = {
    bool: "true, false",
    str: "text",
    int: "integer",
    float: "number",
    Any: "value",
    object: "value",
}

# --- kinds of values that several parts share

Text: TypeAlias = Annotated[str, Words()]
Prose: TypeAlias = Annotated[str, Words(most=100_000, free=True)]
Share: TypeAlias = Annotated[float, Range(least=0, most=1)]
Part: TypeAlias = Annotated[float, Range(above=0, most=1)]  # a share of something that is not nothing
Decay: TypeAlias = Annotated[float, Range(least=0, below=1)]  # the share of an average that a step keeps
Slice: TypeAlias = Annotated[float, Range(above=0, below=1)]  # a share of something that is neither nothing nor all
Percent: TypeAlias = Annotated[float, Range(least=0, most=100)]
Factor: TypeAlias = Annotated[float, Range(least=0, most=1_000_000_000)]  # a weight in a sum; 0 leaves a part out
Positive: TypeAlias = Annotated[float, Range(above=0, most=1_000_000)]
Epochs: TypeAlias = Annotated[float, Range(least=0, most=1_000_000)]
Seconds: TypeAlias = Annotated[float, Range(above=0, most=1_000_000)]
Count: TypeAlias = Annotated[int, Range(least=1, most=1_000_000)]
CountOrNone: TypeAlias = Annotated[int, Range(least=0, most=1_000_000)]  # 0 is none
Pixels: TypeAlias = Annotated[int, Range(least=1, most=8192)]
Batch: TypeAlias = Annotated[int, Range(least=1, most=10_000_000)]
Threads: TypeAlias = Annotated[int, Range(least=1, most=1024)]
Seed: TypeAlias = Annotated[int, Range(least=0, most=10**18)]
Classes: TypeAlias = Annotated[int, Range(least=2, most=1_000_000)]
Size: TypeAlias = Annotated[int, Range(least=1, most=10**12)]  # how many parameters, multiply-adds or bytes
Ranks: TypeAlias = Annotated[int, Range(least=1, most=1024)]
Trials: TypeAlias = Annotated[int, Range(least=1, most=10_000)]
Jobs: TypeAlias = Annotated[int, Range(least=1, most=64)]  # runs side by side
Budget: TypeAlias = Annotated[int, Range(least=2, most=10_000)]  # trials of a search: the first is the recipe itself
Rate: TypeAlias = Annotated[float, Range(above=0, most=1_000_000_000)]
Opset: TypeAlias = Annotated[int, Range(least=9, most=21)]  # paddle2onnx 2.1 writes these; 22 aborts it
Means: TypeAlias = tuple[Share, Share, Share]  # of red, green, blue, of pixels from 0 to 1
Deviations: TypeAlias = tuple[Part, Part, Part]


def rule_of(kind: Any) -> Any:
    """Return the rule in a type, which is what stands first in the metadata of `Annotated`."""
    return kind.__metadata__[0]


def check(kind: Any, value: Any, where: str) -> None:
    """Check a value against the rules in its type; a type without a rule takes every value.

    Raises RecipeError that names `where`, what the value should be, and the value.
    """
    inner, arguments = get_origin(kind), get_args(kind)
    if inner is Annotated:
        rule = rule_of(kind)
        if isinstance(rule, OF_LIST):
            check(arguments[0], value, where)
        if isinstance(rule, Rule):
            try:
                rule.accept(arguments[0], value)
            except ValueError as error:
                raise RecipeError(f"{where}: {error}; got {shown(value)}") from None
    elif inner in (types.UnionType, typing.Union) and type(None) in arguments:
        if value is not None:
            check(arguments[0], value, where)
    elif inner is tuple and isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            check(arguments[0], item, f"{where}.{number}")


def of_text(kind: Any, text: str) -> Any:
    """Return the number that a text is. Raises ValueError, `should be ...; got ...`, for one that the type refuses."""
    try:
        value = number(text)
    except ValueError as error:
        raise ValueError(f"{shown(text)} {error}") from None
    try:
        return rule_of(kind).accept(get_args(kind)[0], text if value is None else value)
    except ValueError as error:
        raise ValueError(f"{error}; got {text[:80]}") from None


def check_fields(holder: Any, where: str = "") -> None:
    """Check every field of a dataclass against the rules in its type, as `check` does.

    `where` precedes the name of the field.
    """
    for name, kind in kinds(type(holder)).items():
        check(kind, getattr(holder, name), f"{where}{name}")


def kinds(cls: Any) -> dict[str, Any]:
    """Map each field of a dataclass to its type, with the rules in it."""
    return _kinds(cls)


@cache
def _kinds(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def told(kind: Any) -> str:
    """Return a type with its rules in words, as docs/recipes.md shows it."""
    inner, arguments = get_origin(kind), get_args(kind)
    if inner is Annotated:
        rule = rule_of(kind)
        return rule.told(arguments[0]) if isinstance(rule, Rule) else told(arguments[0])
    if inner is Literal:
        return ", ".join(map(str, arguments))
    if inner in (types.UnionType, typing.Union):
        return " | ".join("null" if argument is type(None) else told(argument) for argument in arguments)
    if inner is dict:
        return f"name -> {told(arguments[1])}"
    if inner is tuple:
        count = "list of" if arguments[-1] is ... else f"{len(arguments)}"
        return f"{count} {_plural(told(arguments[0]))}"
    return str(_NAMES.get(kind) or getattr(kind, "__name__", kind))


def _plural(words: str) -> str:
    for one in ("integer", "number"):
        if words.startswith(one):
            return words.replace(one, f"{one}s", 1)
    return words


def _article(words: str) -> str:
    return f"an {words}" if words.startswith("i") else f"a {words}"
