"""Read and write YAML: recipes, sweeps, cards, overrides, records. No other module knows PyYAML.

A value is what it looks like. `off` and `2026-05-09` are text, `1e-5` is a number, and what readers of YAML disagree
about (`010`, `0x10`, `1:30`) is refused with its line. The text is other people's: it is read as a stream of events,
and its bytes, depth, values and digits are bounded, those that aliases repeat too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ssld.errors import RecipeError, shown
from ssld.spec import numerals

LARGEST = 1 << 20  # bytes of a text
DEEPEST = 32  # lists and mappings inside each other
VALUES = 100_000  # of a text, each counted as often as an alias repeats it, and long text once for each LONG
LONG = 100  # characters
MERGE = "<<"  # this key takes over the keys of another mapping
_NAMED = {"": None, "~": None, "null": None, "true": True, "false": False}
_NAMES = {spelt: value for name, value in _NAMED.items() for spelt in (name, name.title(), name.upper())}
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read(file: Path) -> Any:
    """Return the content of a YAML file. Raises RecipeError, with the line, where it cannot be read or is not valid."""
    try:
        if not file.is_file():
            raise RecipeError("cannot be read (there is no such file); check the path")
        with file.open("rb") as stream:
            return parse(stream.read(LARGEST + 1).decode("utf-8-sig"))
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from None
    except OSError as error:
        raise RecipeError(f"{file}: cannot be read ({error.strerror}); check the path and its rights") from None
    except UnicodeDecodeError:
        raise RecipeError(f"{file}: cannot be read (is not text in UTF-8); save it as UTF-8") from None


def read_mapping(file: Path, what: str) -> dict[str, object]:
    """Return the keys of a YAML file. Raises RecipeError as `read` does, and where the file holds something else.

    `what` says what such a file describes.
    """
    return mapping(read(file), f"{file}: {what}")


def mapping(tree: object, what: str) -> dict[str, object]:
    """Return a tree that has keys. Raises RecipeError, which begins with `what`, for any other tree."""
    if not isinstance(tree, dict):
        raise RecipeError(f"{what} is a mapping of keys; this file holds {_called(tree)}")
    return tree


def parse(text: str) -> Any:
    """Return the value of one YAML document. Raises RecipeError, with the line, where it is not valid."""
    if len(text) > LARGEST:
        raise RecipeError(f"has more than {LARGEST:,} bytes; give a smaller file")
    try:
        return _Reader(text).document()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise RecipeError(f"{line}not valid YAML ({problem}); correct or quote it") from None
    except UnicodeError:
        raise RecipeError("not valid YAML (is not text in UTF-8); save it as UTF-8") from None


def dump(tree: Any) -> str:
    """Return a tree of mappings, lists and scalars as YAML, with its keys in their order."""
    options: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None, "width": 100}
    return str(yaml.dump(tree, Dumper=_Dumper, **options))


class _Dumper(yaml.SafeDumper):
    """Quote each text that `parse`, or a reader of YAML 1.1, would take for something else."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:number", numerals.PATTERN, list("-+.0123456789"))


class _Reader:
    """Build the value of a document from its events."""

    def __init__(self, text: str):
        self.events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        self.anchors: dict[str, tuple[Any, int, int]] = {}  # name -> value, how many values it holds, its depth
        self.values = 0

    def document(self) -> Any:
        documents = list[Any]()
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if documents:
                    raise _at(event, "a second document begins here; keep one")
                documents.append(self.value(next(self.events), 0)[0])
        return documents[0] if documents else None

    def value(self, event: Any, depth: int) -> tuple[Any, int]:
        """Return the value that begins with an event, and how many lists and mappings lie inside each other in it."""
        if isinstance(event, yaml.AliasEvent):
            return self.repeated(event, depth)
        if event.tag is not None:
            raise _at(event, f"the tag {shown(event.tag)} has no meaning here; leave it out, and quote a text")
        before = self.values
        self.count(event, 1 + len(getattr(event, "value", "")) // LONG, depth)
        if isinstance(event, yaml.ScalarEvent):
            value, inside = _scalar(event), 0
        else:
            read_items = self.items if isinstance(event, yaml.SequenceStartEvent) else self.mapping
            value, deepest = read_items(event, depth + 1)
            inside = deepest + 1
        if event.anchor:
            self.anchors[event.anchor] = value, self.values - before, inside
        return value, inside

    def repeated(self, event: yaml.AliasEvent, depth: int) -> tuple[Any, int]:
        """Return a copy of the value of an anchor, so that a change of one leaves the other as it is."""
        if event.anchor not in self.anchors:
            raise _at(event, f"*{event.anchor} names nothing that ends before it; write &{event.anchor} at a value")
        value, values, inside = self.anchors[event.anchor]
        self.count(event, values, depth + inside)
        return copy.deepcopy(value), inside

    def count(self, event: Any, values: int, depth: int) -> None:
        self.values += values
        if self.values > VALUES:
            raise _at(event, f"there are more than {VALUES:,} values up to here, with what aliases repeat; give fewer")
        if depth > DEEPEST:
            raise _at(event, f"lists and mappings lie more than {DEEPEST} deep in each other here; give fewer")

    def items(self, event: Any, depth: int) -> tuple[list[Any], int]:
        pairs = [self.value(item, depth) for item in self.until(yaml.SequenceEndEvent)]
        return [value for value, _ in pairs], max((inside for _, inside in pairs), default=0)

    def mapping(self, event: Any, depth: int) -> tuple[dict[Any, Any], int]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] | None = None
        deepest = 0
        for key_event in self.until(yaml.MappingEndEvent):
            key, _ = self.value(key_event, depth)
            value, inside = self.value(next(self.events), depth)
            deepest = max(deepest, inside)
            if isinstance(key, bool) or not isinstance(key, (str, int)):
                raise _at(key_event, f"{shown(key)} is no key; write a name, in quotes where it looks like another")
            merges = key == MERGE and getattr(key_event, "implicit", (False,))[0]  # it is not quoted
            if key in own or (merges and merged is not None):
                raise _at(key_event, f"key {shown(key)} stands twice; remove one")
            if merges:
                merged = _merged(key_event, value)
            else:
                own[key] = value
        return {**(merged or {}), **own}, deepest

    def until(self, end: type) -> Iterator[Any]:
        """Yield events up to one of the class `end`; what lies between them is read by who gets them."""
        while not isinstance(event := next(self.events), end):
            yield event


def _merged(event: Any, value: Any) -> dict[Any, Any]:
    """Return the keys that `<<` takes over; of several mappings an earlier one wins."""
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(mapping, dict) for mapping in mappings):
        raise _at(event, f"{MERGE} takes a mapping or a list of mappings, as in {MERGE}: *name; got {shown(value)}")
    return {key: item for mapping in reversed(mappings) for key, item in mapping.items()}


def _scalar(event: yaml.ScalarEvent) -> Any:
    if not event.implicit[0]:  # it is quoted, or a block of text
        return event.value
    if event.value in _NAMES:
        return _NAMES[event.value]
    try:
        number = numerals.number(event.value)
    except ValueError as error:
        raise _at(event, f"{shown(event.value)} {error}") from None
    return event.value if number is None else number


def _at(event: Any, what: str) -> RecipeError:
    return RecipeError(f"line {event.start_mark.line + 1}: {what}")


def _called(tree: Any) -> str:
    return "nothing" if tree is None else "a list" if isinstance(tree, list) else shown(tree)
