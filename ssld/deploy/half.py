"""The child process that gives an ONNX file weights and maps of 16 bits: `python -m ssld.deploy.half SOURCE TARGET`.

Input and output stay what they are. ONNX Runtime's converter leaves operators in float32 that have no 16 bit form.
"""

import sys


def main(source: str, target: str) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    OnnxModel(model).topological_sort()  # the cast of the input was put last
    onnx.save(model, target)
    onnx.checker.check_model(target, full_check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
