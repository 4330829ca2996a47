"""Plan a search: which values a term of a loss is tried with. The same recipe and budget give the same values.

The first trial has the recipe's own values. Trial i + 1 has point i of a Halton sequence: of the k-th key it is the
digits of i in the k-th prime number, mirrored at the point (J. H. Halton, Numerische Mathematik 2, 1960). Every trial
has another value of every key, where a grid of 8 trials has 4 of one key and 2 of the other; the points of a smaller
budget are the first ones of a larger one; and no seed is needed. A weight, a temperature, and any other number that may
be large is searched by factors, evenly in its logarithm around the recipe's own value: methods differ in them by
factors. A share is searched from end to end.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args, get_origin

from ssld.config.sweep import Trial
from ssld.errors import RecipeError, did_you_mean
from ssld.losses import Loss, Term
from ssld.losses.schedule import Schedule
from ssld.spec.ranges import Range, kinds, rule_of

WEIGHT, TEMPERATURE = "weight", "temperature"
OCTAVES = {WEIGHT: 4.0, TEMPERATURE: 1.5}
"""How far a value goes from the recipe's own, both ways, as a power of two.

The first seven weights are the own one times 1, 1/4, 4, 1/8, 2, 1/2 and 8: published weights of one method differ by
such factors from pair to pair of networks. A temperature goes from about a third to three times its own: most published
ones are between 1 and 10.
"""
OF_OTHERS = 2.0  # octaves of any other option
DIGITS = 3  # significant ones, because values are typed and compared
DRAWS = 1000  # points for each wanted trial, before a small space counts as used up
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29)


@dataclass(frozen=True)
class Axis:
    """Hold the values of one key, `own` that of the recipe.

    values: those of a list, of which each is tried in turn. low, high: else the ends, between which the logarithm is
    even with `factors`, the value itself without. whole: whether it is an integer. pairs: of a weight that changes, its
    pairs (epoch, weight), which are all multiplied by the value, own being 1.
    """

    key: str
    own: object
    values: tuple[object, ...] = ()
    low: float = 0.0
    high: float = 1.0
    factors: bool = False
    whole: bool = False
    pairs: tuple[tuple[float, float], ...] = ()

    def at(self, share: float) -> object:
        """Return the value at a share, 0 to 1, of the way."""
        if self.values:
            return self.values[int(share * len(self.values))]
        value = (
            self.low * (self.high / self.low) ** share if self.factors else self.low + share * (self.high - self.low)
        )
        return self.of_number(round(value) if self.whole else float(f"{value:.{DIGITS}g}"))

    def of_number(self, value: float) -> object:
        """Return a value as the key takes it: the pairs, where the weight changes."""
        if not self.pairs:
            return value
        return [[epoch, float(f"{weight * value:.{DIGITS}g}")] for epoch, weight in self.pairs]


def axes_of(term: Term, place: str, options: Sequence[str]) -> list[Axis]:
    """Return what is searched of a term: its weight, its temperature where it has one, and the named options.

    place: the key path of the term. Raises RecipeError for an option that the loss lacks or that cannot be searched.
    """
    fields = {field.name for field in dataclasses.fields(term.loss)}
    names = dict.fromkeys([*([TEMPERATURE] if TEMPERATURE in fields else []), *options])
    if len(names) >= len(PRIMES):
        raise RecipeError(f"--option: {len(names) + 1} keys would be searched, and {len(PRIMES)} can be; name fewer")
    for name in names:
        if name not in fields:
            known = ", ".join(sorted(fields)) or "none"
            hint = did_you_mean(name, fields) or f"; its options: {known}"
            raise RecipeError(f"--option {name}: the loss {term.kind} has no option of this name{hint}")
    return [_weight(term, place), *(_option(term.loss, name, place) for name in names)]


def _weight(term: Term, place: str) -> Axis:
    key, reach = f"{place}.{WEIGHT}", 2 ** OCTAVES[WEIGHT]
    if isinstance(term.weight, Schedule):
        pairs = term.weight.at
        own = [[*pair] for pair in pairs]
        return Axis(f"{key}.at", own, low=1 / reach, high=reach, factors=True, pairs=pairs)
    if not term.weight:
        raise RecipeError(f"{key}: is 0, and is searched by factors; give it a value with {key}=1")
    return Axis(key, term.weight, low=term.weight / reach, high=term.weight * reach, factors=True)


def _option(loss: Loss, name: str, place: str) -> Axis:
    """Return the axis of an option. Raises RecipeError for one that is no number, no choice, or has no value."""
    own, key, kind = getattr(loss, name), f"{place}.{name}", kinds(type(loss))[name]
    if own is None:
        raise RecipeError(f"{key}: has no value to search around; give it one with {key}=VALUE")
    if get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if kind is bool or get_origin(kind) is Literal:
        values = (False, True) if kind is bool else get_args(kind)
        return Axis(key, own, values=values)
    rule = rule_of(kind) if get_origin(kind) is Annotated else None
    if not isinstance(rule, Range):
        raise RecipeError(f"{key}: is neither a number nor a choice, and cannot be searched; leave it out")
    low = rule.least if rule.least is not None else rule.above
    high = rule.most if rule.most is not None else rule.below
    assert low is not None
    assert high is not None
    whole = get_args(kind)[0] is int
    if high - low <= 1 and not whole:
        return Axis(key, own, low=low, high=high)
    if own <= 0:
        raise RecipeError(f"{key}: is {own}, and is searched by factors; give it a positive value with {key}=VALUE")
    reach = 2 ** OCTAVES.get(name, OF_OTHERS)
    return Axis(key, own, low=max(own / reach, low), high=min(own * reach, high), factors=True, whole=whole)


def trials_of(axes: Sequence[Axis], budget: int) -> list[Trial]:
    """Return so many trials, each of which maps keys to values; fewer where there are not so many different ones."""
    own: Trial = {axis.key: axis.own for axis in axes}
    found = [own]
    for trial in itertools.islice(_points(axes), DRAWS * budget):
        if len(found) == budget:
            break
        if trial not in found:
            found.append(trial)
    return found


def _points(axes: Sequence[Axis]) -> Iterator[Trial]:
    for number in itertools.count(1):
        yield {axis.key: axis.at(mirrored(number, base)) for axis, base in zip(axes, PRIMES, strict=False)}


def mirrored(number: int, base: int) -> float:
    """Return the digits of a number in a base, mirrored at the point: 6 is 110 in base 2, and becomes 0.011, 3/8."""
    value, place = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        place /= base
        value += digit * place
    return min(value, math.nextafter(1.0, 0.0))
