"""The gate: an export leaves only when, on real images, it says what the trained model says."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy.engines.registry import ready
from ssld.deploy.export import evaluating, replace, staging, write_files
from ssld.errors import DeployError

BOUND = 1e-4
"""Largest |difference| of two logits, as a share of the largest |logit| of the slice.

A share, because logits of 0.00001 (an untrained network) and of 30 both occur. Correct float32 exports sum in another
order and were measured at 4e-6 at most (ResNet18 to 200, MobileNetV3, ShuffleNetV2); the smallest mistake tried, a
batch norm epsilon of 1e-3 for 1e-5, moves MobileNetV3 by 9e-4 and ResNets by 5e-3 and more.
"""
BOUND_ON_GPU = 1e-3
"""The same where the eager model runs on a GPU, whose convolutions may round to TF32 (11 bits: 5e-4 a product)."""
CHUNK = 32


def gate(
    model: Any,
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    max_abs_diff: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Run every format of an export on real images and compare it with the eager model.

    images float32 [n, 3, S, S], normalised; labels int [n] (-1 = unlabelled) or None. `max_abs_diff` is relative;
    None = BOUND, or BOUND_ON_GPU. Returns {format: {file (the one that holds the weights) and its sha256, bytes (all
    files of the format), max_abs_diff and bound (both absolute), top1, top1_model (percent; None without labels),
    agree (percent of images with equal top-1)}}. An export for any image size also runs two images enlarged by 32
    pixels. Raises DeployError on the first format that differs, or whose top-1 is another class for any image; then
    every file of the export is renamed to `*.rejected`.
    """
    folder = Path(folder)
    contract = contracts.read(folder)
    check_slice(images, labels, contract)
    results, failure = compare(model, folder, contract, images, labels, max_abs_diff)
    if failure:
        _reject(folder, folder)
        raise DeployError(f"{folder}: {failure}; its files are kept as *{contracts.REJECTED}")
    return results


def release(
    model: Any,
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    name: str,
    formats: Sequence[str] = ("paddle", "onnx"),
    opset: int = 17,
    contract: dict[str, Any],
    max_abs_diff: float | None = None,
) -> dict[str, dict[str, Any]]:
    """Export, gate, and only then replace what `folder` held; returns what `gate` returns and adds it to contract.json.

    When the gate rejects the export, `folder` keeps its former export, and gets the new files as `*.rejected`.
    """
    folder = Path(folder)
    with staging(folder) as partial:
        write_files(model, partial, name=name, formats=formats, opset=opset, contract=contract)
        full = contracts.read(partial)
        check_slice(images, labels, full)
        results, failure = compare(model, partial, full, images, labels, max_abs_diff)
        if failure:
            _reject(partial, folder)
            raise DeployError(f"{folder}: {failure}; its files are kept as *{contracts.REJECTED}")
        contracts.write(partial, {**full, "gate": {"images": len(images), "formats": results}})
        replace(partial, folder)
    return results


def check_slice(images: np.ndarray, labels: np.ndarray | None, contract: dict[str, Any]) -> None:
    """Raise DeployError unless the images are what the contract asks for."""
    size = contract["input"]["size"]
    if images.dtype != np.float32 or images.shape[1:] != (3, size, size) or not len(images):
        got = f"{images.dtype} {list(images.shape)}"
        raise DeployError(f"gate: the contract asks for float32 [n, 3, {size}, {size}], got {got}; use its own input")
    if labels is not None and len(labels) != len(images):
        raise DeployError(f"gate: {len(images)} images and {len(labels)} labels; give one label an image, or none")


def compare(
    model: Any,
    folder: Path,
    contract: dict[str, Any],
    images: np.ndarray,
    labels: np.ndarray | None,
    share: float | None,
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """What `gate` returns, and the first failure in words (None = all passed)."""
    trials = [images]
    if "height" in contract["input"]["dynamic"]:
        trials.append(np.pad(images[:2], ((0, 0), (0, 0), (0, 32), (0, 32)), mode="wrap"))
    share = default_bound() if share is None else share
    wanted = [eager_logits(model, trial) for trial in trials]
    bounds = [share * float(np.abs(expected).max()) for expected in wanted]
    results: dict[str, dict[str, Any]] = {}
    for name in contracts.formats_of(contract):
        form = contracts.FORMATS[name]
        files = form.among(contract["files"])
        contracts.check_files(folder, contract, files)
        run = ready(form.engine).load(folder)
        got = [np.concatenate([run(chunk) for chunk in chunks(trial)]) for trial in trials]
        del run  # one engine in memory at a time
        for trial, expected, logits, bound in zip(trials, wanted, got, bounds, strict=True):
            if failure := difference(f"{name} at {trial.shape[-1]} px", expected, logits, bound):
                return results, failure
        expected, logits = wanted[0], got[0]
        results[name] = {
            "file": files[-1],
            "bytes": sum(contract["files"][file]["bytes"] for file in files),
            "sha256": contract["files"][files[-1]]["sha256"],
            "max_abs_diff": float(np.abs(logits - expected).max()),
            "bound": bounds[0],
            "top1": top1(logits, labels),
            "top1_model": top1(expected, labels),
            "agree": 100.0 * float(np.mean(logits.argmax(1) == expected.argmax(1))),
        }
    return results, None


def difference(name: str, expected: np.ndarray, logits: np.ndarray, bound: float) -> str | None:
    """How a format's logits differ beyond `bound` (absolute) or in their top-1, in words; None when they do not."""
    if logits.shape != expected.shape:
        return f"{name} returns {list(logits.shape)}, the model {list(expected.shape)}"
    diff = float(np.abs(logits - expected).max())
    if not diff <= bound:  # a NaN on either side fails here
        return f"{name} differs from the model, max |diff| of logits {diff:.3g} > bound {bound:.3g}"
    other = np.flatnonzero(logits.argmax(1) != expected.argmax(1))
    if not other.size:
        return None
    first, second = np.sort(expected[other[0]])[:-3:-1]
    return (
        f"{name} has another top-1 on {other.size} of {len(logits)} images, the first is image {other[0]} (margin "
        f"{first - second:.3g}), max |diff| of logits {diff:.3g} <= bound {bound:.3g}"
    )


def default_bound() -> float:
    """The relative bound that fits the device of the eager model."""
    import paddle

    return BOUND_ON_GPU if paddle.get_device().startswith("gpu") else BOUND


def eager_logits(model: Any, images: np.ndarray) -> np.ndarray:
    """float32 logits [n, classes] of the model in eval mode; it keeps its modes."""
    import paddle

    with evaluating(model), paddle.no_grad():
        return np.concatenate([model(paddle.to_tensor(chunk)).astype("float32").numpy() for chunk in chunks(images)])


def chunks(images: np.ndarray) -> list[np.ndarray]:
    """Contiguous parts of at most CHUNK images: the last one is smaller, which tries the dynamic batch."""
    return [np.ascontiguousarray(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]


def top1(logits: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Accuracy in percent over the labelled images; None without any."""
    if labels is None or not (known := np.asarray(labels) >= 0).any():
        return None
    return 100.0 * float(np.mean(logits.argmax(1)[known] == np.asarray(labels)[known]))


def _reject(source: Path, folder: Path) -> None:
    """Move every file of an export into `folder` under its rejected name."""
    folder.mkdir(parents=True, exist_ok=True)
    contract = contracts.read(source)
    for name in (*contract["files"], contracts.CONTRACT):
        if (source / name).exists():
            os.replace(source / name, folder / (name + contracts.REJECTED))
