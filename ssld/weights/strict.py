"""Weights into a network, or a reason why not. Nothing is skipped: a partly loaded teacher is worse than none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from ssld.errors import WeightsError
from ssld.models import Classifier, keymap
from ssld.weights.store import load, metadata


def load_into(model: Classifier, path: str | Path, arch: str | None = None) -> None:
    """Set every entry of the network's state from a `.safetensors` file of ours or a published `.pdparams` file.

    `arch` is the architecture that the file is expected to hold (the network's own by default). Raises WeightsError,
    before anything is set, when a key is missing or extra, a shape differs, a value is no float, or the file was made
    for another architecture.
    """
    path, arch = Path(path), arch or model.arch
    made_for = metadata(path).get("arch", arch)
    if made_for != arch:
        raise WeightsError(
            f"{path}: made for {made_for}, the network is {arch}; create {made_for!r} or give other weights"
        )
    state = load(path)
    if path.suffix == ".pdparams":
        state = _renamed(state, keymap(arch), path, arch)
    own = model.state_dict()
    _check(state, {key: list(tensor.shape) for key, tensor in own.items()}, path, model)
    for key, tensor in own.items():
        tensor.set_value(state[key].astype("float32", copy=False))


def _renamed(state: Mapping[str, np.ndarray], names: Mapping[str, str], path: Path, arch: str) -> dict[str, np.ndarray]:
    _check_keys(set(state), set(names), path, arch)
    return {names[key]: array for key, array in state.items()}


def _check_keys(found: set[str], wanted: set[str], path: Path, arch: str) -> None:
    missing, extra = wanted - found, found - wanted
    if missing or extra:
        parts = [
            f"{len(keys)} {word} ({_some(keys)})" for keys, word in ((missing, "missing"), (extra, "extra")) if keys
        ]
        raise WeightsError(f"{path}: not the weights of {arch}: {' and '.join(parts)} of {len(wanted)} keys; check it")


def _check(state: Mapping[str, np.ndarray], own: Mapping[str, list[int]], path: Path, model: Classifier) -> None:
    _check_keys(set(state), set(own), path, model.arch)
    differ = [key for key in own if list(state[key].shape) != own[key]]
    classes = {_classes(list(state[key].shape), own[key], model.num_classes) for key in differ}
    if len(classes) == 1 and None not in classes and all(key.startswith("head.") for key in differ):
        raise WeightsError(
            f"{path}: made for {classes.pop()} classes, the network has {model.num_classes}; "
            f"create it with the file's number of classes or train its head anew"
        )
    if differ:
        shapes = [f"{key} is {list(state[key].shape)}, the network has {own[key]}" for key in differ[:3]]
        raise WeightsError(
            f"{path}: {len(differ)} arrays of another shape: {'; '.join(shapes)}; check file and architecture"
        )
    odd = [key for key in own if state[key].dtype.kind != "f"]
    if odd:
        raise WeightsError(
            f"{path}: {len(odd)} arrays are not floats ({_some(odd)}); quantised weights cannot be loaded here"
        )


def _classes(found: list[int], own: list[int], num_classes: int) -> int | None:
    """The file's size on the one axis where the network has its classes, or None when the shapes differ otherwise."""
    axes = [axis for axis, (a, b) in enumerate(zip(found, own, strict=False)) if a != b]
    only = len(found) == len(own) and len(axes) == 1 and own[axes[0]] == num_classes
    return found[axes[0]] if only else None


def _some(keys: Iterable[str], most: int = 3) -> str:
    keys = sorted(keys)
    return ", ".join(keys[:most]) + (" ..." if len(keys) > most else "")
