"""Weights in and out: safetensors for ours, the published formats for theirs, strict both ways; nothing is unpickled.

Reading and writing load on first use: fetching a file needs no Paddle.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssld.weights.download import Published, fetch

if TYPE_CHECKING:
    from ssld.weights.conversion import convert
    from ssld.weights.store import load, metadata, save
    from ssld.weights.strict import load_into

__all__ = ["Published", "convert", "fetch", "load", "load_into", "metadata", "save"]

_LATER = {"convert": "conversion", "load": "store", "metadata": "store", "save": "store", "load_into": "strict"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"ssld.weights.{_LATER[name]}"), name)
    raise AttributeError(f"module 'ssld.weights' has no attribute {name!r}")
