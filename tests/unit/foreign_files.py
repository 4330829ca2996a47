"""Small networks written as ONNX files, and the same networks in NumPy, for the tests of foreign teachers."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

from ssld.config.foreign import InputSpec, NetworkSpec

SIZE, CLASSES, WIDTH = 8, 5, 4
KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}
KINDS |= {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64}
AXES = {"nchw": (0, 1, 2, 3), "nhwc": (0, 2, 3, 1)}


def weights(scale: float = 1.0) -> dict[str, np.ndarray]:
    """Of a network whose images are about 1 / scale large."""
    draw = np.random.default_rng(7)
    arrays = {
        "kernel": draw.normal(0, 0.6 * scale, (WIDTH, 3, 3, 3)),
        "bias": draw.normal(0, 0.3, WIDTH),
        "matrix": draw.normal(0, 2, (WIDTH, CLASSES)),
        "offset": draw.normal(0, 1, CLASSES),
    }
    return {name: array.astype("float32") for name, array in arrays.items()}


def in_numpy(images: np.ndarray, scale: float = 1.0) -> dict[str, np.ndarray]:
    """The network on images [n, 3, S, S] as it takes them, channels first: convolution, ReLU, mean, linear, softmax."""
    w = weights(scale)
    windows = sliding_window_view(images.astype("float64"), (3, 3), axis=(2, 3))
    features = np.einsum("nchwij,kcij->nkhw", windows, w["kernel"]) + w["bias"].reshape(1, -1, 1, 1)
    features = np.maximum(features, 0)
    pooled = features.mean((2, 3))
    logits = pooled @ w["matrix"] + w["offset"]
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    return {"map": features, "embedding": pooled, "logits": logits, "probabilities": probabilities}


def model(
    *,
    layout: str = "nchw",
    batch: int | str = "n",
    side: int | str = SIZE,
    dtype: str = "float32",
    scale: float = 1.0,
    outputs: tuple[str, ...] = ("logits",),
    shape: list[Any] | None = None,
    opset: int = 17,
    more: tuple[onnx.NodeProto, ...] = (),
    arrays: dict[str, np.ndarray] | None = None,
) -> onnx.ModelProto:
    """The network of `in_numpy` as ONNX. `more` nodes, with their `arrays`, may make further tensors of it."""
    channels_last = [helper.make_node("Transpose", ["cast"], ["images"], perm=[0, 3, 1, 2])]
    nodes = [
        helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.FLOAT),
        *(channels_last if layout == "nhwc" else [helper.make_node("Identity", ["cast"], ["images"])]),
        helper.make_node("Conv", ["images", "kernel", "bias"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "matrix", "offset"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        *more,
    ]
    sizes = [batch, 3, side, side]
    given = shape or [sizes[axis] for axis in AXES[layout]]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", KINDS[dtype], given)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in {**weights(scale), **(arrays or {})}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write(file: Path, **given: Any) -> Path:
    file.write_bytes(model(**given).SerializeToString())
    return file


def write_external(file: Path, **given: Any) -> Path:
    """Every weight in the file `<name>.data` beside it."""
    onnx.save_model(model(**given), file, save_as_external_data=True, location=f"{file.name}.data", size_threshold=0)
    return file


def spec(**changed: Any) -> NetworkSpec:
    """What the network of `model` is, with some values changed; keys of the input among them."""
    image: dict[str, Any] = {"size": SIZE, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    image |= {key: changed.pop(key) for key in list(changed) if key in InputSpec.__dataclass_fields__}
    return NetworkSpec(**{"input": InputSpec(**image), "gives": "logits", **changed})


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(0, 1, (count, 3, SIZE, SIZE)).astype("float32")
