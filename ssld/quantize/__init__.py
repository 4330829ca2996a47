"""int8 simulated in training: which layers (sensitivity), their scales (slim), batch norms afterwards (norms)."""

from ssld.quantize.norms import recalibrate
from ssld.quantize.sensitivity import most_sensitive, sensitivities
from ssld.quantize.slim import (
    CONFIG,
    MISSING,
    available,
    calibrate,
    file_scales,
    float_twin,
    layers,
    quantise,
    quantised,
)

__all__ = [
    "CONFIG",
    "MISSING",
    "available",
    "calibrate",
    "file_scales",
    "float_twin",
    "layers",
    "most_sensitive",
    "quantise",
    "quantised",
    "recalibrate",
    "sensitivities",
]
