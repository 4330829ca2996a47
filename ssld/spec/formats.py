"""Name the formats that a network is exported in, and the precisions that it computes in."""

from typing import Literal, get_args

FormatName = Literal["paddle", "paddle2", "paddle2_int8", "onnx", "fp16", "int8", "tensorrt", "paddlelite"]
Precision = Literal["fp32", "fp16", "int8"]

FORMATS: tuple[FormatName, ...] = get_args(FormatName)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
