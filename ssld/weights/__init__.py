"""This package reads and writes weights: safetensors for ours, the published formats for others; nothing is unpickled.

It is strict in both directions. Reading and writing load on first use, because fetching a file needs no Paddle.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ssld.weights.download import Published, fetch

if TYPE_CHECKING:
    from ssld.weights.conversion import convert
    from ssld.weights.loading import load_into
    from ssld.weights.store import load, metadata, noted_classes, save

__all__ = ["Published", "convert", "fetch", "load", "load_into", "metadata", "noted_classes", "save"]

_LATER = {"convert": "conversion", "load_into": "loading"}
_LATER |= dict.fromkeys(("load", "metadata", "noted_classes", "save"), "store")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"ssld.weights.{_LATER[name]}"), name)
    raise AttributeError(f"module 'ssld.weights' has no attribute {name!r}")
