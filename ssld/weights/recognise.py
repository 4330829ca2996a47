"""Whose weights a file holds: architecture, flavour of the names, revision of the code, number of classes.

The keys decide, and where several ways to read them are left the shapes. What both leave open is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from math import prod

import paddle

from ssld import models
from ssld.errors import WeightsError
from ssld.spec.revisions import FLAVOURS, Flavour, Revision
from ssld.weights.store import Contents

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Way:
    """A way to read a file: as `arch`, with `names` from its keys to ours. Flavour 'ours' stands for our own keys."""

    arch: str
    flavour: str
    revision: Revision
    names: Mapping[str, str]


def recognise(found: Contents, arch: str, revision: Revision | None = None) -> Way:
    """The one way in which a file of published weights holds those of `arch`.

    An archive may hold more files than the network has entries, but not a larger network of the zoo. Raises
    WeightsError when keys are missing or extra, with the architecture that they fit, and when several revisions fit
    and `revision` does not say which.
    """
    ways = _different(_ways(found, arch))
    if not ways or (found.archive and _larger(found, ways[0])):
        raise mismatch(found, arch)
    if len(ways) > 1:
        ways = [way for way in ways if _shapes_fit(found, way)] or ways[:1]
    meant = [way for way in ways if revision in (None, way.revision)]
    if not meant:
        raise WeightsError(f"{found.path}: not the weights of revision {revision} of {arch}; leave the revision out")
    if len(meant) > 1:
        several = " and ".join(f"{way.flavour} of revision {way.revision}" for way in meant)
        raise WeightsError(
            f"{found.path}: for {arch} its keys and shapes are those of {several} alike; `ssld weights import` it with "
            "--revision 1.x if PaddleClas 1.x or 2.0 trained it, with --revision 2.x if later code did"
        )
    return meant[0]


def num_classes(found: Contents, way: Way) -> int | None:
    """As the head in the file has them; None when it has no head of this architecture."""
    key, axis = next(iter(heads(way.arch, way.revision).items()))
    shapes_there = [
        found.arrays[name].shape for name, ours in way.names.items() if ours == key and name in found.arrays
    ]
    return shapes_there[0][axis] or None if shapes_there and axis < len(shapes_there[0]) else None


@cache
def shapes(arch: str, classes: int, revision: Revision) -> Shapes:
    """Our key -> shape, for every entry of the state."""
    with paddle.LazyGuard():  # nothing is allocated
        state = models.create(arch, classes, revision=revision).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


@cache
def heads(arch: str, revision: Revision) -> Mapping[str, int]:
    """Our key -> axis whose size is the number of classes, for the entries that have one."""
    few, more = shapes(arch, 1000, revision), shapes(arch, 1001, revision)
    return {key: axis for key in few for axis, size in enumerate(few[key]) if size != more[key][axis]}


def mismatch(found: Contents, arch: str, wanted: Collection[str] = ()) -> WeightsError:
    """The error that counts and names missing and extra keys; `wanted` are those of the nearest flavour by default."""
    keys = found.arrays.keys()
    flavours = (set(models.keymap(arch, flavour, revision)) for flavour, revision in _kinds(arch))
    names = set(wanted) or max(flavours, key=lambda names: len(names & keys))
    what = differences(keys | found.wrong.keys() & names, names)
    return WeightsError(f"{found.path}: not the weights of {arch}: {what}; {suggestion(found, arch)}")


def differences(keys: Collection[str], wanted: Collection[str]) -> str:
    """How many keys are missing of the wanted ones, and how many are extra, with the first few of each."""
    groups = ((set(wanted) - set(keys), "missing"), (set(keys) - set(wanted), "extra"))
    parts = [f"{len(group)} {word} ({some(group)})" for group, word in groups if group]
    return f"{' and '.join(parts)} of {len(wanted)} keys"


def suggestion(found: Contents, arch: str) -> str:
    """The architecture of the zoo whose keys and shapes a file has, as the end of a message."""
    way = _fitting(found, arch)
    if not way:
        return "it fits no other network of the zoo; check the file"
    return f"it fits {' or '.join([way.arch, *twins(found, way)])}"


def twins(found: Contents, way: Way) -> list[str]:
    """Other architectures that a file fits as well: a pool or an input size is all that tells these networks apart.

    They are called alike; looking at all networks of the zoo would take seconds.
    """
    alike = [name for name in models.names() if name != way.arch and _likeness(name, way.arch) > 0.8]
    return [
        name
        for name in alike
        if any(other.names.keys() == way.names.keys() and _shapes_fit(found, other) for other in _ways(found, name))
    ]


def some(keys: Collection[str], most: int = 3) -> str:
    """The first few, in order; what cannot be printed is escaped."""
    shown = [key if key.isprintable() else ascii(key) for key in sorted(keys)[:most]]
    return ", ".join(shown) + (" ..." if len(keys) > most else "")


def _kinds(arch: str) -> list[tuple[Flavour, Revision]]:
    """What published weights there may be. Names of 1.x and 2.0 come with revision 1.x, where there is one."""
    if not models.revised(arch):
        return [(flavour, "2.x") for flavour in FLAVOURS]
    return [("develop", "2.x"), *((flavour, "1.x") for flavour in FLAVOURS)]


def _ways(found: Contents, arch: str) -> Iterator[Way]:
    keys = found.arrays.keys() | found.wrong.keys() if found.archive else found.arrays.keys()
    for flavour, revision in _kinds(arch):
        own = models.keymap(arch, "develop", revision)  # as many as in every other flavour
        if len(own) > len(keys) or (len(own) < len(keys) and not found.archive):
            continue
        names = {key: key for key in own.values()} if found.ours else models.keymap(arch, flavour, revision)
        if names.keys() <= keys:
            yield Way(arch, "ours" if found.ours else flavour, revision, names)


def _different(ways: Iterable[Way]) -> list[Way]:
    """Without the ones that name every key as an earlier one does: in many series 2.0 and develop agree."""
    kept: list[Way] = []
    for way in ways:
        if not any(way.revision == other.revision and way.names == other.names for other in kept):
            kept.append(way)
    return kept


def _shapes_fit(found: Contents, way: Way) -> bool:
    classes = num_classes(found, way)
    if classes is None:
        return False
    wanted = shapes(way.arch, classes, way.revision)
    return all(name in found.wrong or found.arrays[name].shape == wanted[ours] for name, ours in way.names.items())


def _fitting(found: Contents, arch: str) -> Way | None:
    """Another architecture that fits: of an archive the one that leaves the fewest files over, else the first one.

    Those whose name is like the file's or like `arch` are looked at first.
    """
    best: Way | None = None
    for name in sorted(models.names(), key=lambda name: -max(_likeness(name, found.path.stem), _likeness(name, arch))):
        for way in _ways(found, name) if name != arch else ():
            if (best is None or len(way.names) > len(best.names)) and _shapes_fit(found, way):
                best = way
        if best and not found.archive:
            return best
    return best


def _likeness(name: str, other: str) -> float:
    return SequenceMatcher(None, name, other).ratio()


def _larger(found: Contents, way: Way) -> bool:
    """Whether what an archive holds beside a network are the other entries of a larger one.

    What belongs to training does not count: single numbers, and an optimizer's variables, which are called like the
    network's with an ending.
    """
    endings = tuple(f"{name}_" for name in way.names)
    rest = (name for name, array in found.arrays.items() if name not in way.names and prod(array.shape) > 1)
    if all(name.startswith(endings) for name in rest):
        return False
    other = _fitting(found, way.arch)
    return other is not None and other.names.keys() > way.names.keys()
