"""The type of NumPy arrays in this package; docstrings say their elements and shapes, such as float32 [n, classes]."""

from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
