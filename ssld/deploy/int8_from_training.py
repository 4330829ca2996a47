"""This child process rounds an ONNX file as its network was rounded in the training.

    python -m ssld.deploy.int8_from_training SOURCE TARGET SCALES

The form is that of `int8_from_images`: Q/DQ pairs before convolutions and matrix products, activations and weights
symmetric int8, weights with a scale a channel. Here the ranges are those of the training, a layer may stay float, and
every rounding stands where the training had it. (ONNX Runtime's own writer rounds a tensor for every node that reads
it, shortcuts included.)
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

STEPS = 127
TINY = np.float32(1e-30)  # a channel of zeros still needs a scale
LARGEST_BIAS = 2.0**30
"""An engine may keep a bias as int32, in units of both scales.

A channel whose weights are next to nothing beside its bias gets a scale that lets the bias fit (its weights then take
fewer of the 127 steps).
"""


def main(source: str, target: str, scales: str) -> None:
    """Round `source` into `target`. scales: an .npz file that `save_scales` wrote."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ranges = node_ranges(onnx.load(source).graph, load_scales(scales))
    prepared = target + ".prepared"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)  # it folds the batch norms into the convolutions
    model = onnx.load(prepared)
    Path(prepared).unlink()
    insert(model.graph, ranges)
    onnx.save(model, target)
    onnx.checker.check_model(target, full_check=True)


def save_scales(file: Path, layers: list[tuple[np.ndarray, float | None]]) -> None:
    """Write for each layer its weights and its largest |input| (None: it stays float).

    The weights identify the layer in the file.
    """
    arrays = {f"weight{number}": weight for number, (weight, _) in enumerate(layers)}
    np.savez(file, largest=[np.nan if largest is None else largest for _, largest in layers], **arrays)


def load_scales(file: str) -> list[tuple[np.ndarray, float]]:
    """Read what `save_scales` wrote; a layer that stays float has NaN."""
    with np.load(file, allow_pickle=False) as arrays:
        return [(arrays[f"weight{number}"], float(largest)) for number, largest in enumerate(arrays["largest"])]


def node_ranges(graph: GraphProto, layers: list[tuple[np.ndarray, float]]) -> dict[str, float]:
    """Return {name of a node: its largest |input|} of the nodes that round.

    Ends the process with a reason where two layers cannot be told apart, or where a layer is missing in the file.
    """
    from onnx.numpy_helper import to_array

    ranges: dict[tuple[tuple[int, ...], bytes], float] = {}
    for weight, largest in layers:
        key = weight.shape, weight.tobytes()
        if ranges.setdefault(key, largest) != largest and not np.isnan([ranges[key], largest]).all():
            sys.exit("two layers have equal weights and other ranges; train the network before it is exported")
    values, result = {tensor.name: tensor for tensor in graph.initializer}, {}
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in values:
            weight = to_array(values[node.input[1]])
            largest = ranges.get((weight.shape, weight.tobytes()), np.nan)
            if not np.isnan(largest):
                result[node.name] = largest
    if len(result) < sum(not np.isnan(largest) for _, largest in layers):
        sys.exit(f"{len(result)} layers of the file are known of {len(layers)} of the network; export another format")
    return result


def insert(graph: GraphProto, ranges: Mapping[str, float]) -> None:
    """Put the Q/DQ pairs before the named nodes. (A fusion may have added to a name after a slash.)"""
    from onnx.numpy_helper import to_array

    values = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    nodes: list[NodeProto] = []
    rounded: dict[tuple[str, float], str] = {}  # (tensor, range) -> the rounded tensor
    for node in graph.node:
        largest = ranges.get(node.name.partition("/")[0])
        if largest is not None:
            data, weight = node.input[:2]
            step = max(np.float32(largest), TINY) / np.float32(STEPS)
            if (data, largest) not in rounded:
                rounded[data, largest] = pair(graph, nodes, data, step, None)
            node.input[0] = rounded[data, largest]
            axis = channel_axis(node)
            bias = values.get(node.input[2]) if len(node.input) > 2 else None
            node.input[1] = pair(graph, nodes, weight, weight_steps(values[weight], axis, bias, step), axis)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def weight_steps(weight: np.ndarray, axis: int, bias: np.ndarray | None, step: np.float32) -> np.ndarray:
    """Return float32 [channels]: what one of the 127 steps of a weight is worth. step: the same of the input."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = np.maximum(np.abs(weight).max(others), TINY) / np.float32(STEPS)
    return scale if bias is None else np.maximum(scale, np.abs(bias) / np.float32(step * LARGEST_BIAS))


def channel_axis(node: NodeProto) -> int:
    """Return the axis of a weight's output channels: a MatMul or Gemm has [in, out], unless it says otherwise."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def pair(
    graph: GraphProto, nodes: list[NodeProto], tensor: str, scale: np.ndarray | np.float32, axis: int | None
) -> str:
    """Add Q and DQ of a tensor, with one scale or one a channel, and return the name of the result."""
    from onnx import helper, numpy_helper

    name = f"{tensor}_{len(nodes)}"
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale, "float32"), f"{name}_scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(np.shape(scale), "int8"), f"{name}_zero"))
    options = {} if axis is None else {"axis": axis}
    parameters, integers = [f"{name}_scale", f"{name}_zero"], f"{name}_int8"
    nodes.append(helper.make_node("QuantizeLinear", [tensor, *parameters], [integers], f"{name}_q", **options))
    nodes.append(helper.make_node("DequantizeLinear", [integers, *parameters], [f"{name}_dq"], f"{name}_dq", **options))
    return f"{name}_dq"


if __name__ == "__main__":
    main(*sys.argv[1:])
