"""This package exports networks, checks the exports against the networks (the gate) and measures their speed.

Each name is imported from its module on first use, and a heavy package when a function needs it: naming the engines
needs no NumPy. The functions `bench.bench` and `gate.gate` have the names of their modules and are imported from there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssld.deploy.bench import Row, unsteady, write_csv, write_json
    from ssld.deploy.engines.registry import ENGINES, device_of, format_of, formats_for, ready, shaped, usable
    from ssld.deploy.export import export_model
    from ssld.deploy.formats import How, calibrated, check_writable, needed
    from ssld.deploy.gate import ALLOWED, Allowed, release

__all__ = [
    "ALLOWED",
    "ENGINES",
    "Allowed",
    "How",
    "Row",
    "calibrated",
    "check_writable",
    "device_of",
    "export_model",
    "format_of",
    "formats_for",
    "needed",
    "ready",
    "release",
    "shaped",
    "unsteady",
    "usable",
    "write_csv",
    "write_json",
]

_NAMES = {
    "bench": ("Row", "unsteady", "write_csv", "write_json"),
    "engines.registry": ("ENGINES", "device_of", "format_of", "formats_for", "ready", "shaped", "usable"),
    "export": ("export_model",),
    "formats": ("How", "calibrated", "check_writable", "needed"),
    "gate": ("ALLOWED", "Allowed", "release"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ssld.deploy' has no attribute {name!r}")
    return getattr(import_module(f"ssld.deploy.{_MODULES[name]}"), name)
