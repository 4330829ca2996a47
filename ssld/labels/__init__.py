"""Soft-label cache: a teacher's logits on fixed random views, kept, checked and replayed."""

from ssld.labels.cache import Cache, CachedLogits, Say, claim, fill, verify
from ssld.labels.record import Layout

__all__ = ["Cache", "CachedLogits", "Layout", "Say", "claim", "fill", "verify"]
