"""This module finds out whose weights a file holds: architecture, flavour of the names, revision of the code, classes.

The keys decide, and where several ways to read them are left, the shapes. What both leave open the user has to say.
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
from ssld.spec.printable import printable
from ssld.spec.revisions import FLAVOURS, Flavour, Revision
from ssld.weights.store import Contents

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Way:
    """Describe a way to read a file: as `arch`, with `names` from its keys to ours. The flavour 'ours' means our own
    keys.
    """

    arch: str
    flavour: str
    revision: Revision
    names: Mapping[str, str]


def recognise(contents: Contents, arch: str, revision: Revision | None = None) -> Way:
    """Return the one way in which a file of published weights holds those of `arch`.

    An archive may hold more files than the network has entries, but not a larger network of the zoo. Raises
    WeightsError when keys are missing or extra, with the architecture that they fit, and when several revisions fit and
    `revision` does not say which.
    """
    ways = _different(_ways(contents, arch))
    if not ways or (contents.archive and _larger(contents, ways[0])):
        raise mismatch(contents, arch)
    if len(ways) > 1:
        ways = [way for way in ways if _shapes_fit(contents, way)] or ways[:1]
    candidates = [way for way in ways if revision in (None, way.revision)]
    if not candidates:
        raise WeightsError(f"{contents.path}: not the weights of revision {revision} of {arch}; leave the revision out")
    if len(candidates) > 1:
        several = " and ".join(f"{way.flavour} of revision {way.revision}" for way in candidates)
        raise WeightsError(
            f"{contents.path}: for {arch} its keys and shapes are those of {several} alike; "
            "`ssld weights import` it with --revision 1.x if PaddleClas 1.x or 2.0 trained it, "
            "with --revision 2.x if later code did"
        )
    return candidates[0]


def num_classes(contents: Contents, way: Way) -> int | None:
    """Return the number of classes of the head in the file; None when it has no head of this architecture."""
    key, axis = next(iter(heads(way.arch, way.revision).items()))
    head_shapes = [
        contents.arrays[name].shape for name, ours in way.names.items() if ours == key and name in contents.arrays
    ]
    return head_shapes[0][axis] or None if head_shapes and axis < len(head_shapes[0]) else None


@cache
def shapes(arch: str, classes: int, revision: Revision) -> Shapes:
    """Return {our key: shape} for every entry of the state."""
    with paddle.LazyGuard():  # the guard prevents that memory is allocated
        state = models.create(arch, classes, revision=revision).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


@cache
def heads(arch: str, revision: Revision) -> Mapping[str, int]:
    """Return {our key: axis whose size is the number of classes}, for the entries that have one."""
    few, more = shapes(arch, 1000, revision), shapes(arch, 1001, revision)
    return {key: axis for key in few for axis, size in enumerate(few[key]) if size != more[key][axis]}


def mismatch(contents: Contents, arch: str, expected_keys: Collection[str] = ()) -> WeightsError:
    """Return the error that counts and names missing and extra keys.

    expected_keys: by default those of the nearest flavour.
    """
    keys = contents.arrays.keys()
    flavours = (set(models.keymap(arch, flavour, revision)) for flavour, revision in _kinds(arch))
    names = set(expected_keys) or max(flavours, key=lambda names: len(names & keys))
    what = differences(keys | contents.wrong.keys() & names, names)
    return WeightsError(f"{contents.path}: not the weights of {arch}: {what}; {suggestion(contents, arch)}")


def differences(keys: Collection[str], expected_keys: Collection[str]) -> str:
    """Say how many of the expected keys are missing and how many keys are extra, with the first few of each."""
    groups = ((set(expected_keys) - set(keys), "missing"), (set(keys) - set(expected_keys), "extra"))
    parts = [f"{len(group)} {word} ({some(group)})" for group, word in groups if group]
    return f"{' and '.join(parts)} of {len(expected_keys)} keys"


def suggestion(contents: Contents, arch: str) -> str:
    """Return the architecture of the zoo whose keys and shapes a file has, as the end of a message."""
    way = _fitting(contents, arch)
    if not way:
        return "it fits no other network of the zoo; check the file"
    return f"it fits {' or '.join([way.arch, *twins(contents, way)])}"


def twins(contents: Contents, way: Way) -> list[str]:
    """Return other architectures that a file fits as well: only a pool or an input size distinguishes these networks.

    Only networks with similar names are compared, because comparing all networks of the zoo would take seconds.
    """
    alike = [name for name in models.names() if name != way.arch and _likeness(name, way.arch) > 0.8]
    return [
        name
        for name in alike
        if any(
            other.names.keys() == way.names.keys() and _shapes_fit(contents, other) for other in _ways(contents, name)
        )
    ]


def some(keys: Collection[str], most: int = 3) -> str:
    """Return the first few keys, in order."""
    names = [printable(key) for key in sorted(keys)[:most]]
    return ", ".join(names) + (" ..." if len(keys) > most else "")


def _kinds(arch: str) -> list[tuple[Flavour, Revision]]:
    """Return what published weights there may be. Names of 1.x and 2.0 come with revision 1.x, where there is one."""
    if not models.revised(arch):
        return [(flavour, "2.x") for flavour in FLAVOURS]
    return [("develop", "2.x"), *((flavour, "1.x") for flavour in FLAVOURS)]


def _ways(contents: Contents, arch: str) -> Iterator[Way]:
    """Yield every way in which a file can be read as an architecture, by its keys."""
    keys = contents.arrays.keys() | contents.wrong.keys() if contents.archive else contents.arrays.keys()
    for flavour, revision in _kinds(arch):
        own = models.keymap(arch, "develop", revision)  # every other flavour has as many keys
        if len(own) > len(keys) or (len(own) < len(keys) and not contents.archive):
            continue
        names = {key: key for key in own.values()} if contents.ours else models.keymap(arch, flavour, revision)
        if names.keys() <= keys:
            yield Way(arch, "ours" if contents.ours else flavour, revision, names)


def _different(ways: Iterable[Way]) -> list[Way]:
    """Leave out the ways that name every key as an earlier one does: in many series 2.0 and develop agree."""
    result: list[Way] = []
    for way in ways:
        if not any(way.revision == other.revision and way.names == other.names for other in result):
            result.append(way)
    return result


def _shapes_fit(contents: Contents, way: Way) -> bool:
    """Return whether all shapes of a file are those of the architecture."""
    classes = num_classes(contents, way)
    if classes is None:
        return False
    expected = shapes(way.arch, classes, way.revision)
    return all(
        name in contents.wrong or contents.arrays[name].shape == expected[ours] for name, ours in way.names.items()
    )


def _fitting(contents: Contents, arch: str) -> Way | None:
    """Return another architecture that fits: of an archive the one that leaves the fewest files over, otherwise the
    first one.

    Those whose name is like the file's or like `arch` are tried first.
    """
    best: Way | None = None
    for name in sorted(
        models.names(), key=lambda name: -max(_likeness(name, contents.path.stem), _likeness(name, arch))
    ):
        for way in _ways(contents, name) if name != arch else ():
            if (best is None or len(way.names) > len(best.names)) and _shapes_fit(contents, way):
                best = way
        if best and not contents.archive:
            return best
    return best


def _likeness(name: str, other: str) -> float:
    """Return how much two names are alike, from 0 to 1."""
    return SequenceMatcher(None, name, other).ratio()


def _larger(contents: Contents, way: Way) -> bool:
    """Return whether an archive holds, beside a network's entries, the other entries of a larger network.

    What belongs to training does not count: single numbers, and an optimizer's variables, whose names are the network's
    with an ending.
    """
    endings = tuple(f"{name}_" for name in way.names)
    rest = (name for name, array in contents.arrays.items() if name not in way.names and prod(array.shape) > 1)
    if all(name.startswith(endings) for name in rest):
        return False
    other = _fitting(contents, way.arch)
    return other is not None and other.names.keys() > way.names.keys()
