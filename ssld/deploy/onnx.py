"""This child process turns a Paddle program into an ONNX file.

    python -m ssld.deploy.onnx MODEL TARGET OPSET batch,channel,height,width logits

paddle2onnx aborts the whole process on what it cannot convert, so `ssld.deploy.formats` runs this module in a child.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto, TensorProto
    from paddle import Tensor

LARGEST = 2**31 - 2**24
"""One file takes so many bytes of weights: protobuf ends at 2 GiB, and the graph needs room beside them."""


def main(program: str, target: str, opset: str, axes: str, output: str) -> None:
    """Convert `program` (model.json, its weights beside it), fold constants, name axes and output, check and write.

    Weights of more than LARGEST bytes go into TARGET.data beside the graph: the external data of the ONNX format.
    """
    # paddle2onnx switches this on, and polygraphy then installs packages at run time: "0" is set before that.
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"
    import onnx
    from polygraphy.backend.onnx import fold_constants  # type: ignore[import-untyped]

    weights = Path(program).with_suffix(".pdiparams")
    apart = external_weights(program) if weights.stat().st_size > LARGEST else {}
    model = convert(program, "" if apart else str(weights), int(opset), Path(target).with_suffix(".raw"))
    inputs = [onnx.helper.make_tensor_value_info(name, kind_of(w), w.shape) for name, w in apart.items()]
    model.graph.input.extend(inputs)
    model = fold_constants(model)
    del model.graph.input[len(model.graph.input) - len(inputs) :]
    if apart:
        model.graph.initializer.extend(write_external(apart, Path(target + ".data")))
    name_input_and_output(model, axes.split(","), output)
    onnx.save(model, target)
    onnx.checker.check_model(target, full_check=True)


def convert(program: str, weights: str, opset: int, raw: Path) -> ModelProto:
    """Return the onnx.ModelProto that paddle2onnx makes of a Paddle program. weights: "" makes them inputs by name."""
    import onnx
    import paddle2onnx

    paddle2onnx.export(program, weights, str(raw), opset_version=opset, optimize_tool="none")
    model = onnx.load(str(raw))
    raw.unlink()
    actual = {entry.domain: entry.version for entry in model.opset_import}.get("", 0)
    if actual != opset:
        raise SystemExit(f"[ERROR] asked for opset {opset}, this network needs {actual}")
    return model


def external_weights(program: str) -> dict[str, Tensor]:
    """Return {name in the converted graph: paddle.Tensor} of a saved program.

    Loading appends `_<number>` to each name.
    """
    import paddle

    network = paddle.jit.load(str(Path(program).with_suffix("")))
    return {tensor.name.rpartition("_")[0]: tensor for tensor in network.state_dict().values()}


def write_external(weights: dict[str, Tensor], file: Path) -> Iterator[TensorProto]:
    """Write tensors one after the other; yield the onnx.TensorProto that says where each one lies."""
    import onnx

    with open(file, "wb") as data:
        for name, tensor in weights.items():
            place = {"location": file.name, "offset": data.tell(), "length": data.write(tensor.numpy().tobytes())}
            entry = onnx.TensorProto(name=name, data_type=kind_of(tensor), dims=tensor.shape)
            entry.data_location = onnx.TensorProto.EXTERNAL
            for key, value in place.items():
                entry.external_data.add(key=key, value=str(value))
            yield entry


def kind_of(tensor: Tensor) -> int:
    """Return the onnx.TensorProto.DataType of a paddle.Tensor."""
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(tensor[:0].numpy().dtype))


def name_input_and_output(model: ModelProto, axes: Sequence[str], output: str) -> None:
    """Name the output of an onnx.ModelProto, and the dynamic ones among the axes of its input."""
    graph = model.graph
    (image,), (result,) = graph.input, graph.output
    shape = image.type.tensor_type.shape
    names = {axis.dim_param: name for axis, name in zip(shape.dim, axes, strict=True) if axis.dim_param}
    old = result.name
    for value in (*graph.input, *graph.output, *graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in names:
                axis.dim_param = names[axis.dim_param]
    for node in graph.node:
        node.input[:] = [output if name == old else name for name in node.input]
        node.output[:] = [output if name == old else name for name in node.output]
    result.name = output


if __name__ == "__main__":
    main(*sys.argv[1:])
