"""Describe losses of a recorded plan whose code is not at hand: their names and options, to be read and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import ClassVar

from ssld.losses.base import Loss, Reads
from ssld.losses.registry import built_in
from ssld.losses.terms import OWN


def with_recorded(blocks: Iterable[object], known: Mapping[str, type[Loss]] | None = None) -> dict[str, type[Loss]]:
    """Return the losses `known` (by default the built-in ones), and one without a value for each other kind in
    `blocks`.

    blocks: mappings {name of a term: {kind: ..., weight: ..., option: value}} with every option, as a plan is recorded.
    """
    losses = dict(built_in() if known is None else known)
    options: dict[str, dict[str, None]] = {}
    for block in blocks:
        for name, term in block.items() if isinstance(block, Mapping) else ():
            tree = term if isinstance(term, Mapping) else {}
            kind = str(tree.get("kind", name))
            if kind not in losses:
                options.setdefault(kind, {}).update(dict.fromkeys(map(str, tree.keys() - set(OWN))))
    return losses | {kind: _recorded(kind, sorted(keys)) for kind, keys in options.items()}


def leave_out_former_defaults(blocks: Iterable[object]) -> None:
    """Take out of recorded blocks the options whose values were the defaults of built-in losses when they were written.

    They then have the defaults of today, which mean the same; a digest names no option at its default.
    """
    for block in blocks:
        for name, term in block.items() if isinstance(block, dict) else ():
            cls = built_in().get(str(term.get("kind", name))) if isinstance(term, dict) else None
            for field in dataclasses.fields(cls) if cls else ():
                former = field.metadata.get("was")
                if former is not None and term.get(field.name) == (
                    list(former) if isinstance(former, tuple) else former
                ):
                    del term[field.name]


def _recorded(kind: str, options: Iterable[str]) -> type[Loss]:
    fields = [(name, object, dataclasses.field(default=None)) for name in options]
    reads = ("reads", ClassVar, Reads())
    return dataclasses.make_dataclass(kind, [*fields, reads], bases=(Loss,), frozen=True)
