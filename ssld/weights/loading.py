"""This module loads weights into a network, or says why it cannot.

It skips nothing: a partly loaded teacher is useless.
"""

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
from ssld.weights.store import Contents, LazyArray


@dataclass(frozen=True)
class RecognisedWeights:
    """Hold weights under our keys, and how they were read. `revision` is None where nothing says it."""

    contents: Contents
    way: Way
    revision: Revision | None
    state: Mapping[str, LazyArray]


def load_into(
    model: nn.Layer,
    path: str | Path,
    arch: str | None = None,
    revision: Revision | None = None,
    fresh_head: bool = False,
) -> None:
    """Set every entry of the network's state from weights: a `.safetensors` file of ours, or published ones.

    Published weights are a `.pdparams` file with names of any flavour, or a `.tar` of 1.x, or the folder in it. A
    network that is not of the zoo takes a `.safetensors` or a `.pdparams` file with its own keys (`own_weights`).

    arch: the architecture that the file is expected to hold (the network's own by default). revision: needed where the
    file's keys fit several. fresh_head: arrays that differ in the number of classes alone stay as they are in the
    network, and a line on standard error says so.

    Raises WeightsError, before anything is set, when a key is missing or extra, a shape differs, a value is no finite
    float, or the file was made for another architecture or revision.
    """
    if not is_of_zoo(model):
        fill(model, path, own_weights(model, path, fresh_head))
        return
    weights = read(path, arch or model.arch, revision)
    if weights.revision and weights.revision != model.revision and models.revised(weights.way.arch):
        raise WeightsError(
            f"{path}: weights of revision {weights.revision}, the network is of {model.revision}; "
            f"create {weights.way.arch!r} with revision={weights.revision!r} or give other weights"
        )
    own = model.state_dict()
    own_shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
    fresh = _fresh(weights, own_shapes, model.num_classes) if fresh_head else {}
    check(weights, {**own_shapes, **fresh}, model.num_classes)
    fill(model, path, {key: weights.state[key] for key in own if key not in fresh})


def is_of_zoo(model: nn.Layer) -> bool:
    """Tell whether `models.create` made a network, so that published names of its keys are known."""
    return isinstance(model, Classifier) and hasattr(model, "revision")


def fill(model: nn.Layer, path: str | Path, state: Mapping[str, LazyArray]) -> None:
    """Set these entries of the network's state.

    Whole numbers and truth values, such as a table of positions, are set as they are. Raises WeightsError, before
    anything is set, for values that are not finite.
    """
    own = model.state_dict()
    arrays = {key: floats(path, key, entry) if own[key].is_floating_point() else entry for key, entry in state.items()}
    for key, array in arrays.items():
        own[key].set_value(array)


def own_weights(model: nn.Layer, path: str | Path, fresh_head: bool) -> Mapping[str, LazyArray]:
    """Return what a file holds for a network that is not of the zoo: its keys, its shapes, its kinds of numbers.

    fresh_head: arrays that differ in the number of classes alone are left out. Raises WeightsError as `load_into` does.
    """
    contents, own, name = store.contents(path), model.state_dict(), called(model)
    if contents.archive:
        raise WeightsError(
            f"{path}: an archive of published weights, {name} is not of the zoo; give it a file of its own"
        )
    arch = contents.metadata.get("arch", name)
    if contents.arrays.keys() != own.keys():
        origin = f", the file was made for {arch}" if arch != name else ""
        raise WeightsError(
            f"{path}: not the weights of {name}: {differences(contents.arrays, own)}{origin}; check both"
        )
    differ = [key for key, tensor in own.items() if tuple(contents.arrays[key].shape) != tuple(tensor.shape)]
    shapes = {key: (list(contents.arrays[key].shape), list(own[key].shape)) for key in differ}
    if fresh_head and differ and (others := _other_classes(shapes, getattr(model, "num_classes", 0))):
        note(f"{path}: made for {others} classes; fresh for {model.num_classes}: {', '.join(differ)}")
    elif differ:
        mismatches = [f"{key} is {theirs}, the network has {ours}" for key, (theirs, ours) in list(shapes.items())[:3]]
        raise WeightsError(
            f"{path}: {len(differ)} arrays of another shape: {'; '.join(mismatches)}; check size and options"
        )
    state = {key: contents.arrays[key] for key in own if key not in differ}
    odd = [key for key in state if (state[key].dtype.kind == "f") != own[key].is_floating_point()]
    if odd:
        raise WeightsError(f"{path}: {len(odd)} arrays are of another kind of numbers ({some(odd)}); check the file")
    return state


def _other_classes(shapes: Mapping[str, tuple[list[int], list[int]]], classes: int) -> int | None:
    """Return the file's number of classes, when that alone makes all shapes (of the file, of the network) differ."""
    numbers = set()
    for theirs, ours in shapes.values():
        axes = [axis for axis, (one, other) in enumerate(zip(theirs, ours, strict=False)) if one != other]
        if len(theirs) != len(ours) or len(axes) != 1 or ours[axes[0]] != classes:
            return None
        numbers.add(theirs[axes[0]])
    return numbers.pop() if len(numbers) == 1 else None


def read(path: str | Path, arch: str, revision: Revision | None = None) -> RecognisedWeights:
    """Return what a file holds for `arch`, under our keys.

    What an archive holds beside the weights is left out, and a line on standard error says so. Raises WeightsError as
    `load_into` does, but not for shapes and values.
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
    return RecognisedWeights(contents, way, way.revision, state)


def _of_ours(contents: Contents, arch: str, revision: Revision | None) -> RecognisedWeights:
    """Return what a file of ours holds. Raises WeightsError where it was made for another architecture or revision."""
    facts = contents.metadata
    if facts.get("arch", arch) != arch:
        raise WeightsError(
            f"{contents.path}: made for {facts['arch']}, the network is {arch}; "
            f"create {facts['arch']!r} or give other weights"
        )
    if "arch" in facts:  # otherwise it is a mapping, of which nothing is known
        # Files from before there were two do not say it.
        file_revision: Revision = "1.x" if facts.get("revision") == "1.x" else "2.x"
        if revision not in (None, file_revision):
            raise WeightsError(
                f"{contents.path}: made for revision {file_revision}, not {revision}; leave the revision out"
            )
        revision = file_revision
    way = Way(arch, "ours", revision or "2.x", {key: key for key in contents.arrays})
    return RecognisedWeights(contents, way, revision, contents.arrays)


def check(weights: RecognisedWeights, expected: Shapes, classes: int) -> None:
    """Raise WeightsError unless keys and shapes are the expected ones and all values are floats."""
    path, state = weights.contents.path, weights.state
    if state.keys() != expected.keys():
        raise mismatch(weights.contents, weights.way.arch, expected.keys())
    differ = [key for key in expected if state[key].shape != expected[key]]
    if differ and (others := _classes(weights, expected, differ)):
        raise WeightsError(
            f"{path}: made for {others} classes, the network has {classes}; "
            f"create it with the file's number of classes or train its head anew"
        )
    if differ:
        mismatches = [f"{key} is {list(state[key].shape)}, the network has {list(expected[key])}" for key in differ[:3]]
        hint = suggestion(weights.contents, weights.way.arch)
        raise WeightsError(f"{path}: {len(differ)} arrays of another shape: {'; '.join(mismatches)}; {hint}")
    odd = [key for key in expected if state[key].dtype.kind != "f"]
    if odd:
        raise WeightsError(
            f"{path}: {len(odd)} arrays are not floats ({some(odd)}); quantised weights cannot be loaded here"
        )


def _fresh(weights: RecognisedWeights, expected: Shapes, classes: int) -> dict[str, tuple[int, ...]]:
    """Return {key: the file's shape} of the arrays that differ in the number of classes alone.

    A note says which they are.
    """
    if weights.state.keys() != expected.keys():
        return {}
    differ = [key for key in expected if weights.state[key].shape != expected[key]]
    others = _classes(weights, expected, differ) if differ else None
    if others is None:
        return {}
    note(f"{weights.contents.path}: made for {others} classes; fresh for {classes}: {', '.join(differ)}")
    return {key: tuple(weights.state[key].shape) for key in differ}


def _classes(weights: RecognisedWeights, expected: Shapes, differ: Sequence[str]) -> int | None:
    """Return the file's number of classes, when the shapes differ in nothing else."""
    axes, classes = heads(weights.way.arch, weights.way.revision), num_classes(weights.contents, weights.way)
    for key in differ:
        shape, axis = list(expected[key]), axes.get(key)
        if axis is None or classes is None:
            return None
        shape[axis] = classes
        if list(weights.state[key].shape) != shape:
            return None
    return classes


def floats(path: str | Path, key: str, entry: LazyArray) -> np.ndarray:
    """Return an entry as float32.

    Raises WeightsError when a value is infinite, no number, or too large for float32.
    """
    array = entry if isinstance(entry, np.ndarray) else entry.read()
    with np.errstate(over="ignore"):
        array = array.astype("float32", copy=False)
    if not np.isfinite(array).all():
        raise WeightsError(f"{path}: {key} holds values that are not finite; download it again")
    return array
