"""Define the type of NumPy arrays in this package.

Docstrings say the elements and shapes of arrays, such as float32 [n, classes].
"""

from typing import Any, TypeAlias

import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
