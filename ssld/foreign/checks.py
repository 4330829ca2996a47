"""Check a network from elsewhere before the first step. Each error is one line, `where: what; what to do`."""

import numpy as np
from numpy.typing import NDArray

from ssld.config.foreign import InputSpec, NetworkSpec
from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.foreign.tensors import DTYPES, AnyArray, Array, Engine, Image

PROBES = 3  # number of drawn images
# Probabilities may sum to 1 up to this; a half-precision softmax over 1,000 classes is off by about 0.001.
SUM_BOUND = 0.01
# An image alone may differ from itself in a batch by this share of the largest value; half precision needs about 0.002.
ALONE_BOUND = 0.01


def check_image(image: Image, given: InputSpec, where: str) -> int | None:
    """Return the fixed batch of the network, None where it is dynamic.

    It raises RecipeError where the network's input contradicts `given`.
    """
    takes = f"the network takes {image}"
    if image.dtype not in DTYPES:
        raise RunError(f"{where}: {takes}; export it for {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    if image.dtype == "uint8" and not (np.allclose(given.mean, 0) and np.allclose(given.std, 1 / 255, rtol=1e-3)):
        what = f"{takes}, values from 0 to 255 that are not normalised"
        raise RecipeError(f"{where}: input.mean: {what}; set mean: [0, 0, 0], std: {[0.003921568627451] * 3}")
    if image.shape is None:
        return None
    if len(image.shape) != 4:
        raise RunError(f"{where}: {takes}; a teacher takes [batch, 3, S, S] or [batch, S, S, 3], export it so")
    _check_layout(image.shape, given, f"{where}: input.layout: {given.layout}, but {takes}", where)
    sides = image.shape[2:] if given.layout == "nchw" else image.shape[1:3]
    fixed = {side for side in sides if side}
    if len(fixed) > 1:
        raise RunError(f"{where}: {takes}; the images of a teacher are square, export it so")
    if fixed and given.size not in fixed:
        raise RecipeError(f"{where}: input.size: {given.size}, but {takes}; set it to {fixed.pop()}")
    return image.shape[0]


def _check_layout(shape: tuple[int | None, ...], spec: InputSpec, what: str, where: str) -> None:
    axes = {"nchw": 1, "nhwc": 3}
    other_layout = "nhwc" if spec.layout == "nchw" else "nchw"
    channels = shape[axes[spec.layout]]
    if channels != 3 and shape[axes[other_layout]] == 3:
        raise RecipeError(f"{what}; set input.layout: {other_layout}")
    if channels not in (3, None):
        raise RunError(f"{where}: takes images of {channels} channels; a teacher sees 3, export one that does")


def choose_output(engine: Engine, spec: NetworkSpec) -> str:
    """Return the tensor with the scores.

    It raises RecipeError where it does not exist, or is one of several and not named.
    """
    if spec.output is not None:
        check_tensor(engine, spec.output, "output")
        return spec.output
    if len(engine.outputs) != 1:
        what = f"the network has several ({', '.join(engine.outputs)})"
        raise RecipeError(f"{engine.where}: output: {what}; name the one with the scores of the classes")
    return engine.outputs[0]


def check_taps(engine: Engine, spec: NetworkSpec) -> None:
    for tap, tensor in spec.taps.items():
        check_tensor(engine, tensor, f"taps.{tap}")


def check_tensor(engine: Engine, tensor: str, key: str) -> None:
    """Raise RecipeError, with the nearest name, unless the engine can give a tensor of that name."""
    if tensor not in engine.tensors:
        hint = did_you_mean(tensor, engine.tensors) or f"; its outputs: {', '.join(engine.outputs)}"
        kind = "output" if engine.tensors == engine.outputs else "tensor"
        raise RecipeError(f"{engine.where}: {key}: the network has no {kind} {tensor!r}{hint}")


def check_rows(tensor: object, images: int, where: str) -> None:
    """Raise RunError unless this is an array of floating-point numbers whose first axis counts the images."""
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
        kind = tensor.dtype if isinstance(tensor, np.ndarray) else type(tensor).__name__
        raise RunError(f"{where}: holds {kind}, no floating-point tensor; name the tensor with the scores or features")
    if tensor.ndim < 2 or len(tensor) != images:
        what = f"{list(tensor.shape)} for {images} images"
        raise RunError(f"{where}: {what}; its first axis must be the batch, export the batch as dynamic or as 1")


def drawn(given: InputSpec) -> Array:
    """Draw float32 [PROBES, 3, S, S]: pixels from 0 to 1, normalised as `given` says. They are the same every time."""
    pixels = np.random.default_rng(0).random((PROBES, 3, given.size, given.size), dtype=np.float32)
    pixels *= np.linspace(0.4, 1, PROBES, dtype=np.float32).reshape(-1, 1, 1, 1)  # the images have unequal brightness
    mean, std = (np.array(values, np.float32).reshape(1, 3, 1, 1) for values in (given.mean, given.std))
    images: Array = (pixels - mean) / std
    return images


def check_scores(
    scores: AnyArray, spec: NetworkSpec, classes: int, order: NDArray[np.int64] | None, where: str
) -> None:
    """Raise RecipeError or RunError unless scores [n, ...] of drawn images are what `spec` says of them."""
    if scores.ndim > 2 and scores[0].size != scores.shape[1]:  # [n, classes, 1, 1] is [n, classes]
        what = f"has shape {list(scores.shape)}"
        raise RecipeError(f"{where}: output: {what}; name the tensor of shape [batch, classes]")
    rows = scores.reshape(len(scores), -1).astype(np.float64)
    if not np.isfinite(rows).all():
        what = "is not finite on drawn images"
        raise RunError(f"{where}: output: {what}; check input.mean and input.std, and the exported weights")
    _check_classes(rows.shape[1], classes, order, spec, where)
    sums = rows.sum(axis=1)
    is_positive, sums_to_one = bool((rows >= 0).all()), bool((np.abs(sums - 1) <= SUM_BOUND).all())
    if spec.gives == "logits" and is_positive and sums_to_one:
        what = "logits, but each row is positive and sums to 1, as probabilities do"
        raise RecipeError(f"{where}: gives: {what}; set gives: probabilities, or name the tensor before the softmax")
    if spec.gives == "probabilities" and not (is_positive and sums_to_one):
        what = (
            f"probabilities, but values start at {rows.min():.3g} and rows sum to {sums.min():.3g} to {sums.max():.3g}"
        )
        raise RecipeError(f"{where}: gives: {what}; set gives: logits where no softmax is in the network")


def _check_classes(outputs: int, classes: int, order: NDArray[np.int64] | None, spec: NetworkSpec, where: str) -> None:
    if order is None and outputs != classes:
        what = f"the network has {outputs} classes, the recipe {classes}"
        raise RecipeError(f"{where}: output: {what}; name the index of each class of the recipe in a classes_file")
    if order is not None and order.max() >= outputs:
        line = int(order.argmax()) + 1
        what = f"line {line}: index {order.max()}, but the network has {outputs} classes"
        raise RecipeError(f"{spec.classes_file}: {what}, counted from 0; name the right class")


def check_alone(together: AnyArray, alone: AnyArray, where: str) -> None:
    """Raise RunError unless an image has the same outputs alone as in a batch, up to rounding."""
    if not (np.isfinite(together).all() and np.isfinite(alone).all()):
        raise RunError(f"{where}: is not finite on drawn images; check input.mean and input.std, and the weights")
    reference, single = together.astype(np.float64), alone.astype(np.float64)
    if np.abs(reference - single).max() > ALONE_BOUND * np.abs(reference).max():
        what = "what it gives for an image depends on the other images of the batch"
        raise RunError(f"{where}: {what}; export the network in evaluation mode, and without dynamic quantisation")
