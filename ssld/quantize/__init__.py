"""This package simulates int8 in training: which layers round, their scales, and batch norms afterwards."""

from ssld.quantize.batch_norms import recalibrate
from ssld.quantize.sensitivity import most_sensitive, sensitivities
from ssld.quantize.simulated_int8 import (
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
