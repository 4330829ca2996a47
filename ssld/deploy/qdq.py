"""The child process that rounds an ONNX file as its network was trained.

    python -m ssld.deploy.qdq SOURCE TARGET SCALES

The form is that of `int8`: Q/DQ pairs before convolutions and matrix products, activations and weights symmetric int8,
weights with a scale a channel. Here the ranges are those of the training, a layer may stay float, and every rounding
stands where the training had it: ONNX Runtime's own writer rounds a tensor for all who read it, shortcuts included.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 127
TINY = np.float32(1e-30)  # a channel of zeros still has a scale
LARGEST_BIAS = 2.0**30
"""An engine may hold a bias as int32, in units of both scales: a channel whose weights are next to nothing beside its
bias gets a scale that lets the bias fit (its weights then take fewer of the 127 steps)."""


def main(source: str, target: str, scales: str) -> None:
    """`scales`: an .npz file of what `save_scales` was given."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ranges = node_ranges(onnx.load(source).graph, load_scales(scales))
    prepared = target + ".prepared"
    quant_pre_process(source, prepared, skip_symbolic_shape=True)  # puts the batch norms into the convolutions
    model = onnx.load(prepared)
    Path(prepared).unlink()
    insert(model.graph, ranges)
    onnx.save(model, target)
    onnx.checker.check_model(target, full_check=True)


def save_scales(file: Path, layers: list[tuple[np.ndarray, float | None]]) -> None:
    """For each layer its weights, by which it is found in the file, and the largest |input| (None: it stays float)."""
    held = {f"weight{number}": weight for number, (weight, _) in enumerate(layers)}
    np.savez(file, largest=[np.nan if largest is None else largest for _, largest in layers], **held)


def load_scales(file: str) -> list[tuple[np.ndarray, float]]:
    with np.load(file, allow_pickle=False) as held:
        return [(held[f"weight{number}"], float(largest)) for number, largest in enumerate(held["largest"])]


def node_ranges(graph: Any, layers: list[tuple[np.ndarray, float]]) -> dict[str, float]:
    """Name of a node -> its largest |input|, of the nodes that round. SystemExit where a layer cannot be told apart."""
    from onnx.numpy_helper import to_array

    known: dict[tuple[tuple[int, ...], bytes], float] = {}
    for weight, largest in layers:
        key = weight.shape, weight.tobytes()
        if known.setdefault(key, largest) != largest and not np.isnan([known[key], largest]).all():
            sys.exit("two layers have equal weights and other ranges; train the network before it is exported")
    values, found = {held.name: held for held in graph.initializer}, {}
    for node in graph.node:
        if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in values:
            weight = to_array(values[node.input[1]])
            largest = known.get((weight.shape, weight.tobytes()), np.nan)
            if not np.isnan(largest):
                found[node.name] = largest
    if len(found) < sum(not np.isnan(largest) for _, largest in layers):
        sys.exit(f"{len(found)} layers of the file are known of {len(layers)} of the network; export another format")
    return found


def insert(graph: Any, ranges: Mapping[str, float]) -> None:
    """Put the pairs before the named nodes (a fusion may have added to a name after a slash)."""
    from onnx.numpy_helper import to_array

    values = {held.name: to_array(held) for held in graph.initializer}
    nodes: list[Any] = []
    rounded: dict[tuple[str, float], str] = {}  # a tensor in a range -> its rounded self
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


def weight_steps(weight: np.ndarray, axis: int, bias: np.ndarray | None, step: Any) -> np.ndarray:
    """float32 [channels]: what one of the 127 steps of a weight is worth; `step`: the same of the input."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    scale = np.maximum(np.abs(weight).max(others), TINY) / np.float32(STEPS)
    return scale if bias is None else np.maximum(scale, np.abs(bias) / np.float32(step * LARGEST_BIAS))


def channel_axis(node: Any) -> int:
    """The axis of a weight's output channels: a MatMul or Gemm has [in, out], unless it says otherwise."""
    transposed = any(held.name == "transB" and held.i for held in node.attribute)
    return 0 if node.op_type == "Conv" or transposed else 1


def pair(graph: Any, nodes: list[Any], tensor: str, scale: Any, axis: int | None) -> str:
    """Add Q and DQ of a tensor, with one scale or one a channel; returns the name of the result."""
    from onnx import helper, numpy_helper

    name = f"{tensor}_{len(nodes)}"
    graph.initializer.append(numpy_helper.from_array(np.asarray(scale, "float32"), f"{name}_scale"))
    graph.initializer.append(numpy_helper.from_array(np.zeros(np.shape(scale), "int8"), f"{name}_zero"))
    given = {} if axis is None else {"axis": axis}
    parameters, whole = [f"{name}_scale", f"{name}_zero"], f"{name}_int8"
    nodes.append(helper.make_node("QuantizeLinear", [tensor, *parameters], [whole], f"{name}_q", **given))
    nodes.append(helper.make_node("DequantizeLinear", [whole, *parameters], [f"{name}_dq"], f"{name}_dq", **given))
    return f"{name}_dq"


if __name__ == "__main__":
    main(*sys.argv[1:])
