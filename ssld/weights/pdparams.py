"""Published `.pdparams` files. They are pickles, and a pickle can name any function for the reader to call.

`paddle.load` calls it. This reader knows the few names that an array needs and refuses a file at any other, before it
is called. The layout is that of `paddle.save(layer.state_dict())` in Paddle 2.x: {structured key: array}, an entry
StructuredToParameterName@@ of parameter names, and, where the pickle protocol could not hold an array of 4 GB,
UnpackBigParamInfor@@ with the slices that make it up.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.core.multiarray import _reconstruct, scalar  # type: ignore[attr-defined]

from ssld.errors import WeightsError

_PARAMETER_NAMES = "StructuredToParameterName@@"
_SLICES = "UnpackBigParamInfor@@"


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """What protocol 2 writes for the bytes of an array; other codecs are not needed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes in {encoding}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): scalar for core in ("core", "_core")},
    **{(module, "tuple"): tuple for module in ("builtins", "__builtin__")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise WeightsError(
                f"it wants to run {module}.{name}, which no weights need; do not open it with other tools either"
            )
        return _ALLOWED[module, name]


def read(path: Path) -> dict[str, np.ndarray]:
    """Key -> array. Raises WeightsError when the file is damaged, holds more than arrays, or names a function."""
    try:
        with path.open("rb") as file:
            tree = _Reader(file, encoding="latin1").load()  # latin1: files written by Python 2
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
    ) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(f"{path}: truncated or not a .pdparams file ({reason}); download it again") from None
    if not isinstance(tree, dict):
        raise WeightsError(f"{path}: holds a {type(tree).__name__}, not a state dict of arrays")
    tree.pop(_PARAMETER_NAMES, None)
    state = _joined(tree, tree.pop(_SLICES, {}), path)
    for key, value in state.items():
        if not (isinstance(key, str) and isinstance(value, np.ndarray) and not value.dtype.hasobject):
            raise WeightsError(f"{path}: entry {key!r} is a {type(value).__name__}, not an array of numbers")
    return state


def _joined(tree: dict[str, Any], slices: Any, path: Path) -> dict[str, Any]:
    """Put big arrays together again. `slices`: {key: {"OriginShape": shape, "slices": [keys of its flat pieces]}}."""
    try:
        for key, part in slices.items():
            pieces, shape = [tree.pop(piece) for piece in part["slices"]], tuple(part["OriginShape"])
            if sum(piece.size for piece in pieces) != prod(shape):
                raise ValueError(f"the pieces of {key} do not add up to {list(shape)}")
            tree[key] = np.concatenate([piece.ravel() for piece in pieces]).reshape(shape)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its list of array pieces does not hold ({error}); download it again") from None
    return tree
