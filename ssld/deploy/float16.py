"""This child process gives an ONNX file weights and maps of 16 bits.

    python -m ssld.deploy.float16 SOURCE TARGET

Input and output keep their types. ONNX Runtime's converter leaves operators in float32 that have no 16-bit form.
"""

import sys


def main(source: str, target: str) -> None:
    """Convert the ONNX file `source` and write the result to `target`."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    OnnxModel(model).topological_sort()  # the converter puts the cast of the input last
    onnx.save(model, target)
    onnx.checker.check_model(target, full_check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
