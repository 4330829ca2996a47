"""This package is the soft-label cache: a teacher's logits on fixed random views, kept, checked and replayed.

The cache loads on first use, because the size of a record can be told without Paddle.
"""

from typing import TYPE_CHECKING, Any

from ssld.labels.record import Layout

if TYPE_CHECKING:
    from ssld.labels.cache import Cache, CachedLogits, Say, claim, fill, verify

__all__ = ["Cache", "CachedLogits", "Layout", "Say", "claim", "fill", "verify"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from ssld.labels import cache

        return getattr(cache, name)
    raise AttributeError(f"module 'ssld.labels' has no attribute {name!r}")
