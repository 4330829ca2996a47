"""This child process quantises an ONNX file with ranges that images show.

    python -m ssld.deploy.int8_from_images SOURCE TARGET IMAGES.npy

It uses the static quantisation of ONNX Runtime in the form that ONNX Runtime, OpenVINO and TensorRT all take: Q/DQ
pairs before convolutions and matrix products, activations symmetric int8 with the range that the images show, weights
int8 with a scale a channel, biases in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnxruntime.quantization import CalibrationDataReader

OPERATORS = ["Conv", "MatMul", "Gemm"]
OLDEST_OPSET = 13
"""From this opset on a Q/DQ pair can have a scale a channel."""
BATCH = 16


def main(source: str, target: str, images: str) -> None:
    """Quantise `source` into `target`.

    images: an array file of what the network takes, [n, ...]; they give the ranges.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target + ".prepared"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        target,
        reader(prepared, np.load(images)),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=OPERATORS,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
        },
    )
    Path(prepared).unlink()
    onnx.checker.check_model(target, full_check=True)


def reader(source: str, images: np.ndarray) -> CalibrationDataReader:
    """Return an object that hands the images to ONNX Runtime in batches.

    Where the file has a fixed batch it hands them over one by one.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    entry = onnx.load(source).graph.input[0]
    size = entry.type.tensor_type.shape.dim[0].dim_value or BATCH

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[np.ndarray] = iter([images[at : at + size] for at in range(0, len(images), size)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {entry.name: batch}

    return Reader()


if __name__ == "__main__":
    main(*sys.argv[1:])
