"""Weights in and out: safetensors for ours, `.pdparams` for the published ones, strict both ways."""

from ssld.weights.store import load, metadata, save
from ssld.weights.strict import load_into

__all__ = ["load", "load_into", "metadata", "save"]
