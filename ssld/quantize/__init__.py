"""int8 simulated in training: which layers (sensitivity), their scales (slim), batch norms afterwards (norms)."""

from ssld.quantize.norms import recalibrate
from ssld.quantize.sensitivity import most_sensitive, sensitivities
from ssld.quantize.slim import (
    MISSING,
    available,
    calibrate,
    file_scales,
    float_twin,
    layers,
    quantise,
    quantised,
    save,
)

__all__ = [
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
    "save",
    "sensitivities",
]
