"""Import Paddle when a loss is first computed: the options of a loss are checked without it.

A file of a loss writes `from ssld.losses.lazy import F, Tensor, paddle` and uses them inside functions. Layers, whose
classes need Paddle when they are defined, stand in `losses/layers/`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["F", "Tensor", "paddle"]

if TYPE_CHECKING:
    import paddle
    import paddle.nn.functional as F
    from paddle import Tensor
else:

    class Lazy:
        """Stand for a module that is imported when one of its attributes is first used."""

        def __init__(self, name: str):
            self._name = name

        def __getattr__(self, name: str) -> object:
            return getattr(import_module(self._name), name)

    paddle, F, Tensor = Lazy("paddle"), Lazy("paddle.nn.functional"), "Tensor"
