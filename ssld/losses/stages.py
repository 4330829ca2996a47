"""Find stages of a student and of a teacher that belong together, where a loss names no taps.

A network calls its taps `stage1`, `stage2` and so on, from shallow to deep, and `stage1.pre` what enters the last
activation of a stage that ends in one. How many stages there are, how large their maps are and whether they end in an
activation differs between residual, plain and mobile networks, so a default cannot name taps: a loss reads AFTER or
BEFORE instead, which stand for stages, and `Loss.fitted` puts taps in their place when the two networks are known.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations, product
from typing import TypeVar

from ssld.errors import RecipeError
from ssld.losses.base import Shape

T = TypeVar("T")
AFTER, BEFORE = "stages", "stages.pre"
"""What a loss reads while it is open which stages: what they give, or what enters their last activation."""
ENDS = {AFTER: (".sum", ""), BEFORE: (".pre", "")}
"""The taps of a stage, of which the first is taken that a network has. One that normalises before it adds has `.sum`,
which the code of the literature catches there. One whose stages end without an activation has no `.pre`: the published
networks of that kind hand out what the stage gives."""
STAGE = re.compile(r"(stage(\d+))(\.\w+)?")


def instead_of(was: T) -> T | None:
    """Make a field of a loss whose default None leaves it open. `was` is the default that older plans were written
    with.
    """
    field: T | None = dataclasses.field(default=None, metadata={"was": was})
    return field


def is_open(names: Iterable[str]) -> bool:
    """Return whether some of the outputs that a loss reads stand for stages."""
    return not ENDS.keys().isdisjoint(names)


def of_stages(names: Iterable[str]) -> set[str]:
    """Return those of the taps that are of stages."""
    return {name for name in names if STAGE.fullmatch(name)}


def stages_of(role: str, shapes: Mapping[str, Shape], among: Collection[str] | None = None) -> dict[str, float]:
    """Map the stages of a network, from shallow to deep, to the side of their maps over that of the last one.

    shapes: of its taps, without the batch. among: the stages are those of these taps. Raises RecipeError, which says
    what to write, for a network without stages.
    """
    matches = [match for match in map(STAGE.fullmatch, shapes) if match and len(shapes[match[0]]) == 3]
    sides = {match[1]: shapes[match[0]][1] for match in sorted(matches, key=lambda match: int(match[2]))}
    wanted = sides if among is None else {match[1] for match in map(STAGE.fullmatch, among) if match}
    if not sides or not wanted:
        what = (
            f"the {role} has no taps stage1, stage2 ... with maps" if not sides else f"{role}: its taps are no stages"
        )
        raise RecipeError(f"{what}, which it would compare; name taps in both options, student and teacher")
    last = [*sides.values()][-1]
    return {stage: side / last for stage, side in sides.items() if stage in wanted}


def in_pairs(own: Mapping[str, float], others: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Return as many stages of both networks, in their order, as the one that has fewer of them has.

    Those of the other one are chosen whose maps are most alike in size, counted from the last map, so that images of
    another size choose the same. Of choices that are equally good the deepest counts. Networks with as many stages are
    compared stage by stage, as the code of the literature does.
    """
    count = min(len(own), len(others))
    choices = product(combinations([*own][::-1], count), combinations([*others][::-1], count))

    def apart(choice: tuple[tuple[str, ...], tuple[str, ...]]) -> float:
        return sum(abs(math.log2(own[a] / others[b])) for a, b in zip(*choice, strict=True))

    a, b = min(choices, key=apart)
    return [*reversed(a)], [*reversed(b)]


def taps_of(kind: str, stages: Iterable[str], shapes: Mapping[str, Shape]) -> list[str]:
    """Return the tap of each stage that is caught AFTER or BEFORE its last activation."""
    return [next(f"{stage}{end}" for end in ENDS[kind] if f"{stage}{end}" in shapes) for stage in stages]
