"""The child process that turns a Paddle program into an ONNX file: `python -m ssld.deploy.onnx MODEL TARGET OPSET`.

paddle2onnx aborts the whole process on what it cannot convert, so `ssld.deploy.export` runs this module in a child.
"""

import os
import sys
from pathlib import Path
from typing import Any

DIMENSIONS = ("batch", None, "height", "width")
"""Names of the input's dynamic axes, as a reader of the file sees them."""


def main(program: str, target: str, opset: str) -> None:
    """Convert `program` (model.json, its weights beside it), fold constants, name inputs and outputs, check, write."""
    # paddle2onnx switches this on, and then polygraphy installs packages at run time: have it read "0" first.
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    import onnx
    import paddle2onnx
    from polygraphy.backend.onnx import fold_constants  # type: ignore[import-untyped]

    raw = Path(target).with_suffix(".raw")
    weights = str(Path(program).with_suffix(".pdiparams"))
    paddle2onnx.export(program, weights, str(raw), opset_version=int(opset), optimize_tool="none")
    model = onnx.load(str(raw))
    raw.unlink()
    written = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    if written != int(opset):
        raise SystemExit(f"[ERROR] asked for opset {opset}, this network needs {written}")
    model = fold_constants(model)
    name_ends(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)


def name_ends(model: Any) -> None:
    """In an onnx.ModelProto, name the output `logits` and the dynamic axes batch, height and width."""
    graph = model.graph
    (image,), (logits,) = graph.input, graph.output
    shape = image.type.tensor_type.shape
    axes = {axis.dim_param: name for axis, name in zip(shape.dim, DIMENSIONS, strict=True) if axis.dim_param and name}
    old = logits.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in axes:
                axis.dim_param = axes[axis.dim_param]
    for node in graph.node:
        node.input[:] = ["logits" if name == old else name for name in node.input]
        node.output[:] = ["logits" if name == old else name for name in node.output]
    logits.name = "logits"


if __name__ == "__main__":
    main(*sys.argv[1:])
