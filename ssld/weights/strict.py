"""Weights into a network, or a reason why not. Nothing is skipped: a partly loaded teacher is worse than none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddle import nn

from ssld import models
from ssld.errors import WeightsError
from ssld.models import Classifier
from ssld.models.taps import called
from ssld.progress import note
from ssld.spec.revisions import Revision
from ssld.weights import store
from ssld.weights.recognise import Shapes, Way, differences, heads, mismatch, num_classes, recognise, some, suggestion
from ssld.weights.store import Contents, Kept


@dataclass(frozen=True)
class Found:
    """Weights under our keys, and how they were read. `revision` is None where neither keys nor metadata tell."""

    contents: Contents
    way: Way
    revision: Revision | None
    state: Mapping[str, Kept]


def load_into(
    model: nn.Layer,
    path: str | Path,
    arch: str | None = None,
    revision: Revision | None = None,
    fresh_head: bool = False,
) -> None:
    """Set every entry of the network's state from weights: a `.safetensors` file of ours, or published ones.

    Published are a `.pdparams` file with names of any flavour, or a `.tar` of 1.x or the folder in it. A network that
    is not of the zoo takes what has its own keys, a `.safetensors` or a `.pdparams` file (`own_weights`). `arch` is the
    architecture that the file is expected to hold (the network's own by default), `revision` is needed where its keys
    fit several. With `fresh_head` arrays that differ in the number of classes alone stay as they are in the network,
    and a line on standard error says so. Raises WeightsError, before anything is set, when a key is missing or extra, a
    shape differs, a value is no finite float, or the file was made for another architecture or revision.
    """
    if not is_of_zoo(model):
        fill(model, path, own_weights(model, path, fresh_head))
        return
    found = read(path, arch or model.arch, revision)
    if found.revision and found.revision != model.revision and models.revised(found.way.arch):
        raise WeightsError(
            f"{path}: weights of revision {found.revision}, the network is of {model.revision}; "
            f"create {found.way.arch!r} with revision={found.revision!r} or give other weights"
        )
    own = model.state_dict()
    wanted = {key: tuple(tensor.shape) for key, tensor in own.items()}
    fresh = _fresh(found, wanted, model.num_classes) if fresh_head else {}
    check(found, {**wanted, **fresh}, model.num_classes)
    fill(model, path, {key: found.state[key] for key in own if key not in fresh})


def is_of_zoo(model: nn.Layer) -> bool:
    """Whether `models.create` made a network, so that published names of its keys are known."""
    return isinstance(model, Classifier) and hasattr(model, "revision")


def fill(model: nn.Layer, path: str | Path, state: Mapping[str, Kept]) -> None:
    """Set these entries of the network's state. WeightsError, before anything is set, for values that are not finite.

    Whole numbers and truth values, such as a table of positions, are set as they are.
    """
    own = model.state_dict()
    arrays = {key: floats(path, key, kept) if own[key].is_floating_point() else kept for key, kept in state.items()}
    for key, array in arrays.items():
        own[key].set_value(array)


def own_weights(model: nn.Layer, path: str | Path, fresh_head: bool) -> Mapping[str, Kept]:
    """What a file holds for a network that is not of the zoo: its keys, its shapes, its kinds of numbers.

    With `fresh_head` arrays are left out that differ in the number of classes alone. WeightsError as in `load_into`.
    """
    contents, own, name = store.contents(path), model.state_dict(), called(model)
    if contents.archive:
        raise WeightsError(
            f"{path}: an archive of published weights, {name} is not of the zoo; give it a file of its own"
        )
    noted = contents.metadata.get("arch", name)
    if contents.arrays.keys() != own.keys():
        other = f", the file was made for {noted}" if noted != name else ""
        raise WeightsError(f"{path}: not the weights of {name}: {differences(contents.arrays, own)}{other}; check both")
    differ = [key for key, tensor in own.items() if tuple(contents.arrays[key].shape) != tuple(tensor.shape)]
    shapes = {key: (list(contents.arrays[key].shape), list(own[key].shape)) for key in differ}
    if fresh_head and differ and (others := _other_classes(shapes, getattr(model, "num_classes", 0))):
        note(f"{path}: made for {others} classes; fresh for {model.num_classes}: {', '.join(differ)}")
    elif differ:
        told = [f"{key} is {theirs}, the network has {ours}" for key, (theirs, ours) in list(shapes.items())[:3]]
        raise WeightsError(f"{path}: {len(differ)} arrays of another shape: {'; '.join(told)}; check size and options")
    kept = {key: contents.arrays[key] for key in own if key not in differ}
    odd = [key for key in kept if (kept[key].dtype.kind == "f") != own[key].is_floating_point()]
    if odd:
        raise WeightsError(f"{path}: {len(odd)} arrays are of another kind of numbers ({some(odd)}); check the file")
    return kept


def _other_classes(shapes: Mapping[str, tuple[list[int], list[int]]], classes: int) -> int | None:
    """The file's number of classes, when that alone makes all shapes (of the file, of the network) differ."""
    found = set()
    for theirs, ours in shapes.values():
        axes = [axis for axis, (one, other) in enumerate(zip(theirs, ours, strict=False)) if one != other]
        if len(theirs) != len(ours) or len(axes) != 1 or ours[axes[0]] != classes:
            return None
        found.add(theirs[axes[0]])
    return found.pop() if len(found) == 1 else None


def read(path: str | Path, arch: str, revision: Revision | None = None) -> Found:
    """What a file holds for `arch`, under our keys. Raises WeightsError as `load_into` does, but for shapes and values.

    What an archive holds beside the weights is left out, and a line on standard error says so.
    """
    contents = store.contents(path)
    if contents.ours:
        return _of_ours(contents, arch, revision)
    way = recognise(contents, arch, revision)
    damaged = [f"{name}: {contents.wrong[name]}" for name in way.names if name in contents.wrong]
    if damaged:
        count = f"{len(damaged)} of {len(way.names)} variables"
        raise WeightsError(f"{path}: {count} cannot be read: {some(damaged)}; download it again")
    ignored = (contents.arrays.keys() | contents.wrong.keys()) - way.names.keys()
    if ignored:
        note(f"{path}: {len(ignored)} files beside the weights are ignored: {some(ignored)}")
    state = {ours: contents.arrays[name] for name, ours in way.names.items()}
    return Found(contents, way, way.revision, state)


def _of_ours(contents: Contents, arch: str, revision: Revision | None) -> Found:
    noted = contents.metadata
    if noted.get("arch", arch) != arch:
        raise WeightsError(
            f"{contents.path}: made for {noted['arch']}, the network is {arch}; "
            f"create {noted['arch']!r} or give other weights"
        )
    if "arch" in noted:  # else it is a mapping, of which nothing is known
        made: Revision = "1.x" if noted.get("revision") == "1.x" else "2.x"  # not noted before there were two
        if revision not in (None, made):
            raise WeightsError(f"{contents.path}: made for revision {made}, not {revision}; leave the revision out")
        revision = made
    way = Way(arch, "ours", revision or "2.x", {key: key for key in contents.arrays})
    return Found(contents, way, revision, contents.arrays)


def check(found: Found, wanted: Shapes, classes: int) -> None:
    """Raise WeightsError unless keys and shapes are the wanted ones and all values are floats."""
    path, state = found.contents.path, found.state
    if state.keys() != wanted.keys():
        raise mismatch(found.contents, found.way.arch, wanted.keys())
    differ = [key for key in wanted if state[key].shape != wanted[key]]
    if differ and (others := _classes(found, wanted, differ)):
        raise WeightsError(
            f"{path}: made for {others} classes, the network has {classes}; "
            f"create it with the file's number of classes or train its head anew"
        )
    if differ:
        told = [f"{key} is {list(state[key].shape)}, the network has {list(wanted[key])}" for key in differ[:3]]
        hint = suggestion(found.contents, found.way.arch)
        raise WeightsError(f"{path}: {len(differ)} arrays of another shape: {'; '.join(told)}; {hint}")
    odd = [key for key in wanted if state[key].dtype.kind != "f"]
    if odd:
        raise WeightsError(
            f"{path}: {len(odd)} arrays are not floats ({some(odd)}); quantised weights cannot be loaded here"
        )


def _fresh(found: Found, wanted: Shapes, classes: int) -> dict[str, tuple[int, ...]]:
    """Key -> the file's shape, for the arrays that differ in the number of classes alone; notes what they are."""
    if found.state.keys() != wanted.keys():
        return {}
    differ = [key for key in wanted if found.state[key].shape != wanted[key]]
    others = _classes(found, wanted, differ) if differ else None
    if others is None:
        return {}
    note(f"{found.contents.path}: made for {others} classes; fresh for {classes}: {', '.join(differ)}")
    return {key: tuple(found.state[key].shape) for key in differ}


def _classes(found: Found, wanted: Shapes, differ: Sequence[str]) -> int | None:
    """The file's number of classes, when that is all in which the shapes differ."""
    axes, classes = heads(found.way.arch, found.way.revision), num_classes(found.contents, found.way)
    for key in differ:
        shape, axis = list(wanted[key]), axes.get(key)
        if axis is None or classes is None:
            return None
        shape[axis] = classes
        if list(found.state[key].shape) != shape:
            return None
    return classes


def floats(path: str | Path, key: str, kept: Kept) -> np.ndarray:
    """An entry as float32. Raises WeightsError when a value is infinite or no number, or too large for float32."""
    array = kept if isinstance(kept, np.ndarray) else kept.read()
    with np.errstate(over="ignore"):
        array = array.astype("float32", copy=False)
    if not np.isfinite(array).all():
        raise WeightsError(f"{path}: {key} holds values that are not finite; download it again")
    return array
