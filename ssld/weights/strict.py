"""Weights into a network, or a reason why not. Nothing is skipped: a partly loaded teacher is worse than none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssld import models
from ssld.errors import WeightsError
from ssld.models import Classifier
from ssld.progress import note
from ssld.spec.revisions import Revision
from ssld.weights import store
from ssld.weights.recognise import Shapes, Way, heads, mismatch, num_classes, recognise, some, suggestion
from ssld.weights.store import Contents, Kept


@dataclass(frozen=True)
class Found:
    """Weights under our keys, and how they were read. `revision` is None where neither keys nor metadata tell."""

    contents: Contents
    way: Way
    revision: Revision | None
    state: Mapping[str, Kept]


def load_into(
    model: Classifier,
    path: str | Path,
    arch: str | None = None,
    revision: Revision | None = None,
    fresh_head: bool = False,
) -> None:
    """Set every entry of the network's state from weights: a `.safetensors` file of ours, or published ones.

    Published are a `.pdparams` file with names of any flavour, or a `.tar` of 1.x or the folder in it. `arch` is the
    architecture that the file is expected to hold (the network's own by default), `revision` is needed where its keys
    fit several. With `fresh_head` arrays that differ in the number of classes alone stay as they are in the network,
    and a line on standard error says so. Raises WeightsError, before anything is set, when a key is missing or extra, a
    shape differs, a value is no finite float, or the file was made for another architecture or revision.
    """
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
    state = {key: floats(found, key) for key in own if key not in fresh}
    for key, array in state.items():
        own[key].set_value(array)


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


def floats(found: Found, key: str) -> np.ndarray:
    """An entry as float32. Raises WeightsError when a value is infinite or no number, or too large for float32."""
    kept = found.state[key]
    array = kept if isinstance(kept, np.ndarray) else kept.read()
    with np.errstate(over="ignore"):
        array = array.astype("float32", copy=False)
    if not np.isfinite(array).all():
        raise WeightsError(f"{found.contents.path}: {key} holds values that are not finite; download it again")
    return array
