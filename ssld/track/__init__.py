"""This package records a run while it trains: always `metrics.jsonl`, W&B and TensorBoard files where asked for."""

from ssld.track.logger import About, Artifact, Logger
from ssld.track.track import MODES, Options, Track, check, start

__all__ = ["MODES", "About", "Artifact", "Logger", "Options", "Track", "check", "start"]
