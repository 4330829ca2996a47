"""Our files: safetensors, which holds arrays and text and can run nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from ssld.errors import WeightsError
from ssld.files import flush
from ssld.weights import pdparams


def save(model_or_state: Any, path: str | Path, **metadata: str) -> None:
    """Write a network (with its `arch` and `num_classes`), or a mapping of key -> array or tensor, and `metadata`.

    The file appears whole or not at all: it is written under a temporary name, flushed to disk and renamed. Raises
    WeightsError when it cannot be written, e.g. on a full disk.
    """
    path = Path(path)
    if hasattr(model_or_state, "state_dict"):
        known = {"arch": model_or_state.arch, "num_classes": str(model_or_state.num_classes)}
        metadata, model_or_state = known | metadata, model_or_state.state_dict()
    # Contiguous: safetensors writes a strided array's buffer as it lies in memory.
    state = {key: np.ascontiguousarray(_array(value)) for key, value in model_or_state.items()}
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, part, {key: str(value) for key, value in metadata.items()})
        flush(part)
        os.replace(part, path)
        flush(path.parent)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        raise WeightsError(f"{path}: cannot be written ({_line(error)}); nothing was changed") from None


def load(path: str | Path) -> dict[str, np.ndarray]:
    """Key -> array of a `.safetensors` or `.pdparams` file; keys are those in the file.

    Raises WeightsError when the file is missing, truncated or damaged, of another kind, or (`.pdparams`) holds more
    than arrays.
    """
    path = _existing(path)
    if path.suffix == ".pdparams":
        return pdparams.read(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError, KeyError) as error:
        raise _damaged(path, error) from None


def metadata(path: str | Path) -> Mapping[str, str]:
    """What `save` noted in a `.safetensors` file; empty for `.pdparams`. Raises WeightsError as `load` does."""
    path = _existing(path)
    if path.suffix == ".pdparams":
        return {}
    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from None


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix not in (".safetensors", ".pdparams"):
        raise WeightsError(f"{path}: not a kind of weights that is read here; give a .safetensors or .pdparams file")
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; check the path, or download the weights that the card names")
    return path


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(f"{path}: damaged or not a safetensors file ({_line(error)}); copy or download it again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _array(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else value.numpy()
