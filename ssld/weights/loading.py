"""This module loads weights into a network, or says why it cannot.

It skips nothing: a partly loaded teacher is useless.
"""

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
from ssld.weights.store import Contents, LazyArray


@dataclass(frozen=True)
class RecognisedWeights:
    """Weights under our keys, and how they were read. `revision` is None where neither keys nor metadata say it."""

    contents: Contents
    way: Way
    revision: Revision | None
    state: Mapping[str, LazyArray]


def load_into(
    model: Classifier,
    path: str | Path,
    arch: str | None = None,
    revision: Revision | None = None,
    fresh_head: bool = False,
) -> None:
    """Set every entry of the network's state from weights: a `.safetensors` file of ours, or published ones.

    Published weights are a `.pdparams` file with names of any flavour, or a `.tar` of 1.x, or the folder in it.

    arch: the architecture that the file is expected to hold (the network's own by default). revision: needed where the
    file's keys fit several. fresh_head: arrays that differ in the number of classes alone stay as they are in the
    network, and a line on standard error says so.

    Raises WeightsError, before anything is set, when a key is missing or extra, a shape differs, a value is no finite
    float, or the file was made for another architecture or revision.
    """
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
    state = {key: floats(weights, key) for key in own if key not in fresh}
    for key, array in state.items():
        own[key].set_value(array)


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


def floats(weights: RecognisedWeights, key: str) -> np.ndarray:
    """Return an entry as float32.

    Raises WeightsError when a value is infinite, no number, or too large for float32.
    """
    entry = weights.state[key]
    array = entry if isinstance(entry, np.ndarray) else entry.read()
    with np.errstate(over="ignore"):
        array = array.astype("float32", copy=False)
    if not np.isfinite(array).all():
        raise WeightsError(f"{weights.contents.path}: {key} holds values that are not finite; download it again")
    return array
