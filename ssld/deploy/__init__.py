"""This package exports networks, checks the exports against the networks (the gate) and measures their speed.

Nothing heavy is imported until a function needs it.
"""

from ssld.deploy.bench import Row, bench, unsteady, write_csv, write_json
from ssld.deploy.engines.registry import ENGINES, device_of, format_of, formats_for, ready, shaped, usable
from ssld.deploy.export import export_model
from ssld.deploy.formats import How, calibrated, needed
from ssld.deploy.gate import ALLOWED, BOUND, Allowed, gate, release

__all__ = [
    "ALLOWED",
    "BOUND",
    "ENGINES",
    "Allowed",
    "How",
    "Row",
    "bench",
    "calibrated",
    "device_of",
    "export_model",
    "format_of",
    "formats_for",
    "gate",
    "needed",
    "ready",
    "release",
    "shaped",
    "unsteady",
    "usable",
    "write_csv",
    "write_json",
]
