"""This module reads published `.pdparams` files: pickles, read by a machine that can run nothing (`unpickle.py`).

The layout is that of `paddle.save(layer.state_dict())` in Paddle 2.x: {structured key: array}, an entry
StructuredToParameterName@@ of parameter names, and, where the pickle protocol could not hold an array of 4 GB,
UnpackBigParamInfor@@ with the slices that make it up. `fluid.save` of Paddle 1.x wrote {variable name: array}.
"""

from __future__ import annotations

import mmap
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ssld.errors import WeightsError
from ssld.spec.printable import printable
from ssld.unpickle import check_shape, unpickle

_PARAMETER_NAMES = "StructuredToParameterName@@"
_SLICES = "UnpackBigParamInfor@@"


def read(path: Path) -> dict[str, np.ndarray]:
    """Return {key: array}; the arrays are read-only.

    Raises WeightsError when the file is damaged, holds more than arrays, or names a function.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            tree = unpickle(content)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except (OSError, ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{path}: truncated or not a .pdparams file ({reason}); download it again") from None
    if not isinstance(tree, dict):
        raise WeightsError(f"{path}: holds a {type(tree).__name__.strip('_')}, not a state dict of arrays")
    tree.pop(_PARAMETER_NAMES, None)
    state = _joined(tree, tree.pop(_SLICES, {}), path)
    for key, value in state.items():
        if not isinstance(key, str):
            raise WeightsError(f"{path}: an entry has a number for a name, not a text; get the file from its publisher")
        if not isinstance(value, np.ndarray):
            kind = type(value).__name__.strip("_")
            raise WeightsError(f"{path}: entry {printable(repr(key[:80]))} is a {kind}, not an array of numbers")
    return state


def _joined(tree: dict[str, Any], slices: Any, path: Path) -> dict[str, Any]:
    """Put big arrays together again. slices: {key: {"OriginShape": shape, "slices": [keys of its flat pieces]}}."""
    try:
        for key, part in slices.items():
            names, shape = part["slices"], tuple(part["OriginShape"])
            if not all(isinstance(name, str) for name in (key, *names)):
                raise ValueError("a piece whose name is no text")
            pieces = [tree.pop(name) for name in names]
            check_shape(shape)
            if sum(piece.size for piece in pieces) != prod(shape):
                raise ValueError(f"the pieces of {key} do not add up to {list(shape)}")
            if sum(piece.nbytes for piece in pieces) > path.stat().st_size:
                raise ValueError(f"the pieces of {key} are larger than the file")
            if len({piece.dtype for piece in pieces}) > 1:
                raise ValueError(f"the pieces of {key} are of several types")
            tree[key] = np.concatenate([piece.ravel() for piece in pieces]).reshape(shape)
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise WeightsError(f"{path}: its list of array pieces does not hold ({error}); download it again") from None
    return tree
