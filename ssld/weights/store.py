"""This module reads files of weights, and writes ours: safetensors, which holds arrays and text and can run nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ssld.errors import WeightsError
from ssld.files import clear, damaged, flush, read_json, told, whole, write_json
from ssld.spec.printable import printable
from ssld.weights import first_checksums, lodtensor, pdparams
from ssld.weights.lodtensor import StoredArray

LazyArray = np.ndarray | StoredArray
_SIZES = {"i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "f": (2, 4, 8)}
_TYPES = {"BOOL": "?", "BF16": "<u2", "C64": "<c8"}
_TYPES |= {f"{kind.upper()}{8 * size}": f"<{kind}{size}" for kind, sizes in _SIZES.items() for size in sizes}
"""The types of numbers of a `.safetensors` file, and how NumPy reads them."""


@dataclass(frozen=True)
class Contents:
    """Say what a file holds.

    arrays: under the keys of the file. wrong: {file of an archive: why it holds no array}. metadata: what `save`
    recorded. ours: whether the keys are ours.
    """

    path: Path
    arrays: Mapping[str, LazyArray]
    wrong: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    archive: bool = False


BESIDE = ".facts.json"  # suffix of the file beside a weights file that says more of it, see `save`


def save(model_or_state: Any, path: str | Path, *, beside: Mapping[str, str] | None = None, **metadata: str) -> None:
    """Write a network (with its `arch`, `num_classes` and `revision`, as far as it has them), or a mapping of arrays or
    tensors, and `metadata`.

    The file appears whole or not at all: it is written under a temporary name, flushed to disk and renamed. The same
    arrays and metadata make the same bytes. What `beside` says is no part of these bytes: it is written to a file of
    its own with the `digest` of the metadata, and `metadata` reads it with the others. Raises WeightsError when a file
    cannot be written, for example on a full disk.
    """
    path = Path(path)
    if hasattr(model_or_state, "state_dict"):
        attributes = {name: getattr(model_or_state, name, None) for name in ("arch", "num_classes", "revision")}
        facts = {name: str(value) for name, value in attributes.items() if isinstance(value, (str, int))}
        metadata, model_or_state = facts | metadata, model_or_state.state_dict()
    # The arrays must be contiguous: safetensors writes a strided array's buffer as it lies in memory.
    state = {key: np.ascontiguousarray(_array(value)) for key, value in model_or_state.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear(path.parent, path.name)
        if beside is not None:
            write_json(path.with_suffix(BESIDE), {"digest": metadata["digest"], **beside})
        with whole(path) as partial:
            save_file(state, partial, {key: str(value) for key, value in metadata.items()})
            _sort_metadata(partial)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise WeightsError(told(error, path, "nothing was changed")) from None


def _sort_metadata(file: Path) -> None:
    """Sort the metadata of a file.

    safetensors writes them in an order that changes from one time to the next.
    """
    with file.open("r+b") as stream:
        size = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(size))
        if "__metadata__" in header:
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode().ljust(size)
            if len(text) == size:  # so it is the same JSON in another order
                stream.seek(8)
                stream.write(text)


def load(path: str | Path) -> dict[str, np.ndarray]:
    """Return {key: array} of a file or folder of weights; keys are those in the file.

    Raises WeightsError when the file is missing, truncated or damaged, of another kind, or (`.pdparams`) holds more
    than arrays.
    """
    return {key: _array(value) for key, value in contents(path).arrays.items()}


def metadata(path: str | Path) -> Mapping[str, str]:
    """Return what `save` recorded in a `.safetensors` file; nothing for other kinds.

    Raises WeightsError as `load` does.
    """
    path = _existing(path, Path(path).suffix)
    return _metadata(path) if path.suffix == ".safetensors" else {}


def noted_classes(path: str | Path) -> int | None:
    """Return the number of classes that `save` recorded in a `.safetensors` file; None where it says nothing.

    Raises WeightsError as `load` does, and where no array of the file has an axis of so many.
    """
    noted = metadata(path).get("num_classes")
    if noted is None:
        return None
    with safe_open(path, framework="numpy") as file:
        sizes = {str(size) for key in file.keys() for size in file.get_slice(key).get_shape()}  # noqa: SIM118
    if noted not in sizes - {"0"}:
        raise WeightsError(f"{path}: notes {noted[:40]!r} classes, and holds no array of so many; copy the file again")
    return int(noted)


def contents(path: str | Path, suffix: str | None = None) -> Contents:
    """Return what a `.safetensors`, `.pdparams` or `.tar` file or a folder holds.

    `suffix` says which of them a file is whose own name has not got that ending. Raises WeightsError as `load` does,
    and for a file that is not the one that was fetched to its place.
    """
    suffix = Path(path).suffix if suffix is None else suffix
    path = _existing(path, suffix)
    first_checksums.check(path)
    if path.is_dir() or suffix == ".tar":
        return Contents(path, *lodtensor.listing(path), archive=True)
    if suffix == ".pdparams":
        return Contents(path, pdparams.read(path))
    return Contents(path, _arrays(path), metadata=_metadata(path), ours=True)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a `.safetensors` file. bfloat16, the upper half of a float32, becomes float32."""
    try:
        with safe_open(path, framework="numpy"):  # it checks the header: no array lies outside of the file
            pass
        with path.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
        header.pop("__metadata__", None)
        return {key: _read(path, key, 8 + size, **facts) for key, facts in header.items()}
    except (OSError, SafetensorError, ValueError, OverflowError, RecursionError) as error:
        raise _damaged(path, error) from None


def _read(path: Path, key: str, start: int, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    """Read one array. Raises WeightsError for numbers that NumPy does not know."""
    if dtype not in _TYPES:
        raise WeightsError(f"{path}: {printable(key)} holds numbers of type {dtype}; save them as float32")
    array = np.fromfile(path, _TYPES[dtype], prod(shape), offset=start + data_offsets[0]).reshape(shape)
    return (array.astype("<u4") << 16).view("<f4") if dtype == "BF16" else array


def _metadata(path: Path) -> Mapping[str, str]:
    """Read the metadata of a `.safetensors` file, and what the file beside it says of the same weights."""
    try:
        with safe_open(path, framework="numpy") as file:
            noted: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from None
    beside = path.with_suffix(BESIDE)
    return {**_beside(beside, noted.get("digest")), **noted} if beside.is_file() else noted


def _beside(file: Path, digest: str | None) -> Mapping[str, str]:
    """Return what a file beside weights says of those with this digest; nothing where they are others."""
    advice = "remove it, and images are shown as the card says"
    facts = read_json(file, advice, WeightsError)
    if not all(isinstance(value, str) for value in facts.values()):
        raise damaged(file, "it is no mapping of names to texts", advice, WeightsError)
    return facts if facts.get("digest") == digest else {}


def _existing(path: str | Path, suffix: str) -> Path:
    """Return the path. Raises WeightsError where it is no kind of weights, or there is no such file."""
    path = Path(path)
    if path.is_dir():
        return path
    if suffix not in (".safetensors", ".pdparams", ".tar"):
        raise WeightsError(
            f"{path}: not a kind of weights that is read here; give a .safetensors, .pdparams or .tar file, or a folder"
        )
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; check the path, or `ssld weights fetch NAME` what a card names")
    return path


def _damaged(path: Path, error: Exception) -> WeightsError:
    """Return the error of a damaged file."""
    return WeightsError(f"{path}: damaged or not a safetensors file ({_line(error)}); copy or download it again")


def _line(error: Exception) -> str:
    """Return the text of an error on one line."""
    return " ".join(str(error).split())


def _array(value: Any) -> np.ndarray:
    """Return a value as an array."""
    if isinstance(value, StoredArray):
        return value.read()
    return value if isinstance(value, np.ndarray) else value.numpy()
