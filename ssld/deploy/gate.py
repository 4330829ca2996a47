"""The gate lets an export leave only when it answers, on real images, what the trained model answers."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy import rounding
from ssld.deploy.engines.registry import ready, usable
from ssld.deploy.export import replace, staging, write_files
from ssld.deploy.formats import PLAIN, How
from ssld.deploy.processing import as_file_input
from ssld.errors import DeployError

if TYPE_CHECKING:
    from paddle.nn import Layer

CHUNK = 32


@dataclass(frozen=True)
class Allowed:
    """Say how much a format may differ from its network."""

    points: float
    """Points of top-1 that the file may lose over the images; at 0 no single image may get another class.

    An image whose two best classes are so near to each other that rounding may exchange them counts for neither.
    """
    share: float | None = None
    """The |difference| of a logit, as a share of the largest; None is what rounding explains, see `rounding`."""


ALLOWED = {"fp32": Allowed(0.0), "fp16": Allowed(0.1), "int8": Allowed(0.5, 0.5)}
"""What is allowed for each precision that the files of a format compute in.

int8 is judged by its top-1. Its bound of logits finds a file of other weights.
"""
WORST = 8
"""So many images, on which a file differs most, are asked of the network in float64."""


def gate(
    model: Layer,
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    allowed: Mapping[str, Allowed] | None = None,
) -> dict[str, dict[str, Any]]:
    """Run every format of an export on real images and compare its answers with those of the eager model.

    images: float32 [n, 3, S, S], normalised. labels: int [n] (-1 is unlabelled) or None. allowed: None is ALLOWED. An
    export for any image size also runs two images enlarged by 32 pixels.

    Returns {format: {file (the one that holds the weights) and its sha256, bytes (all files of the format),
    max_abs_diff and bound (both absolute), top1, top1_model (percent; None without labels), agree (percent of images
    with equal top-1)}}. A file for phones that cannot run here has `not_run`, the reason, in place of the comparison.

    Raises DeployError at the first format that differs by more; then every file of the export is renamed to
    `*.rejected`.
    """
    folder = Path(folder)
    contract = contracts.read(folder)
    check_slice(images, labels, contract)
    results, failure = compare(model, folder, contract, images, labels, allowed)
    if failure:
        _reject(folder, folder)
        raise DeployError(f"{folder}: {failure}; its files are kept as *{contracts.REJECTED}")
    return results


def release(
    model: Layer,
    folder: str | Path,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    name: str,
    contract: dict[str, Any],
    formats: Sequence[str] = ("paddle", "onnx"),
    how: How = PLAIN,
    calibration: np.ndarray | None = None,
    allowed: Mapping[str, Allowed] | None = None,
) -> dict[str, dict[str, Any]]:
    """Export, run the gate, and only then replace what `folder` held.

    Returns what `gate` returns, and adds it to contract.json. When the gate rejects the export, `folder` keeps its
    former export and gets the new files as `*.rejected`.
    """
    folder = Path(folder)
    with staging(folder) as partial:
        write_files(model, partial, name=name, contract=contract, formats=formats, how=how, calibration=calibration)
        full = contracts.read(partial)
        check_slice(images, labels, full)
        results, failure = compare(model, partial, full, images, labels, allowed)
        if failure:
            _reject(partial, folder)
            raise DeployError(f"{folder}: {failure}; its files are kept as *{contracts.REJECTED}")
        precisions = {contracts.precision_of(name, full) for name in contracts.formats_of(full)}
        limits = {precision: asdict((allowed or ALLOWED)[precision]) for precision in sorted(precisions)}
        contracts.write(partial, {**full, "gate": {"images": len(images), "allowed": limits, "formats": results}})
        replace(partial, folder)
    return results


def check_slice(images: np.ndarray, labels: np.ndarray | None, contract: dict[str, Any]) -> None:
    """Raise DeployError unless the images are of the kind that the network was trained on."""
    size = contract["input"]["size"]
    if images.dtype != np.float32 or images.shape[1:] != (3, size, size) or not len(images):
        actual = f"{images.dtype} {list(images.shape)}"
        raise DeployError(f"gate: the network asks for float32 [n, 3, {size}, {size}], got {actual}; use its own input")
    if labels is not None and len(labels) != len(images):
        raise DeployError(f"gate: {len(images)} images and {len(labels)} labels; give one label an image, or none")


@dataclass(frozen=True)
class Trial:
    """Hold images, and what the network answers to them."""

    images: np.ndarray
    """The images as the network takes them."""
    inputs: np.ndarray
    """The images as the file takes them."""
    labels: np.ndarray | None
    logits: np.ndarray
    """What the network answers."""
    expected: np.ndarray
    """What the file should answer: logits, or probabilities where it returns those."""
    steepness: float
    """The largest change of an answer for a change of 1 of the logits: of probabilities 1/2.

    The slope of a probability is p(1-p) <= 1/4, and a logit may go up while the others go down.
    """
    pixels: int
    is_slice: bool
    """Whether these are the images of the gate, whose top-1 is compared in points.

    Otherwise they are images enlarged to try another size.
    """

    @property
    def scale(self) -> float:
        """What a share of 1 allows."""
        return self.steepness * float(np.abs(self.logits).max())


def trials(model: Layer, contract: dict[str, Any], images: np.ndarray, labels: np.ndarray | None) -> list[Trial]:
    """Return the images of the gate as a trial.

    Where any size is taken there is a second trial: two of the images, enlarged by 32 pixels.
    """
    import paddle
    from paddle.nn.functional import softmax

    batches = [(images, labels, True)]
    if "height" in contract["input"]["dynamic"]:
        batches.append((np.pad(images[:2], ((0, 0), (0, 0), (0, 32), (0, 32)), mode="wrap"), None, False))
    result = []
    for floats, answers, is_slice in batches:
        inputs, network_inputs = as_file_input(floats, contract["input"])
        logits = eager_logits(model, network_inputs)
        has_softmax = contract["output"]["name"] == "probabilities"
        expected = softmax(paddle.to_tensor(logits), axis=1).numpy() if has_softmax else logits
        steepness = 0.5 if has_softmax else 1.0
        result.append(Trial(network_inputs, inputs, answers, logits, expected, steepness, floats.shape[-1], is_slice))
    return result


def compare(
    model: Layer,
    folder: Path,
    contract: dict[str, Any],
    images: np.ndarray,
    labels: np.ndarray | None,
    allowed: Mapping[str, Allowed] | None,
) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Return what `gate` returns, and the first failure in words (None: all formats passed)."""
    all_trials, limits = trials(model, contract, images, labels), allowed or ALLOWED
    size = CHUNK if "batch" in contract["input"]["dynamic"] else 1
    results: dict[str, dict[str, Any]] = {}
    for name in contracts.formats_of(contract):
        form, precision = contracts.FORMATS[name], contracts.precision_of(name, contract)
        files = form.among(contract["files"])
        contracts.check_files(folder, contract, files)
        results[name] = {
            "file": files[-1],
            "bytes": sum(contract["files"][file]["bytes"] for file in files),
            "sha256": contract["files"][files[-1]]["sha256"],
        }
        if why := not_here(name):
            results[name] |= {"not_run": why}
            continue
        run = ready(form.engine, precision=precision).load(folder)
        for trial in all_trials if form.any_size else all_trials[:1]:
            answer = np.concatenate([run(chunk) for chunk in chunks(trial.inputs, size)])
            bound, margin = bounds(model, trial, answer, limits[precision], precision)
            if failure := judge(f"{name} at {trial.pixels} px", trial, answer, limits[precision], bound, margin):
                return results, failure
            if trial.is_slice:
                results[name] |= comparison(trial, answer, bound)
        del run  # so that one engine is in memory at a time
    return results, None


def bounds(model: Layer, trial: Trial, answer: np.ndarray, limits: Allowed, precision: str) -> tuple[float, float]:
    """Return the largest |difference| of an answer that is allowed, and the margin of two classes that may change
    places, both absolute.

    A file beyond what rounding explains by the rule is given what it explains in this network.
    """
    if precision not in rounding.UNIT:
        return (limits.share or 0.0) * trial.scale, 0.0
    rounded = rounding.share(model, precision) * trial.scale
    if precision == "fp32" and answer.shape == trial.expected.shape:
        distance = np.abs(answer - trial.expected).max(1)
        if distance.max() > rounded:
            worst = np.argsort(-distance)[:WORST]
            own = rounding.own_error(model, trial.images[worst], trial.logits[worst])
            rounded = min(max(rounded, rounding.OWN * own * trial.steepness), rounding.MOST * rounded)
    return rounded if limits.share is None else limits.share * trial.scale, 0.0 if limits.points else 2 * rounded


def judge(name: str, trial: Trial, answer: np.ndarray, limits: Allowed, bound: float, margin: float) -> str | None:
    """Say in words how the answer of a format differs by more than it may; None when it does not.

    bound, margin: see `bounds`.
    """
    if failure := far_apart(name, trial.expected, answer, bound):
        return failure
    if not limits.points:
        return other_class(name, trial.expected, answer, margin)
    if not trial.is_slice:
        return None
    numbers = comparison(trial, answer, bound)
    if numbers["top1"] is None:
        others = 100 - numbers["agree"]
        too_many = others > limits.points + 1e-9
        return f"{name} has another top-1 on {others:.2f} % of the images > {limits.points:g}" if too_many else None
    lost = numbers["top1_model"] - numbers["top1"]
    if lost <= limits.points + 1e-9:
        return None
    top = f"top-1 {numbers['top1']:.2f} %, the model's {numbers['top1_model']:.2f} %"
    return f"{name} has {top} on {len(answer)} images, {lost:.2f} points less > {limits.points:g}"


def comparison(trial: Trial, answer: np.ndarray, bound: float) -> dict[str, Any]:
    """Return the numbers of a format beside those of the network."""
    return {
        "max_abs_diff": float(np.abs(answer - trial.expected).max()),
        "bound": bound,
        "top1": top1(answer, trial.labels),
        "top1_model": top1(trial.expected, trial.labels),
        "agree": 100.0 * float(np.mean(answer.argmax(1) == trial.expected.argmax(1))),
    }


def far_apart(name: str, expected: np.ndarray, logits: np.ndarray, bound: float) -> str | None:
    """Say in words how a format's logits differ in shape or beyond `bound` (absolute); None when they do not."""
    if logits.shape != expected.shape:
        return f"{name} returns {list(logits.shape)}, the model {list(expected.shape)}"
    diff = float(np.abs(logits - expected).max())
    if not diff <= bound:  # a NaN on either side fails here
        return f"{name} differs from the model, max |diff| of logits {diff:.3g} > bound {bound:.3g}"
    return None


def other_class(name: str, expected: np.ndarray, logits: np.ndarray, margin: float) -> str | None:
    """Say in words how many images get another class from a format; None when it is none.

    An image does not count where the logits of its two best classes are no further apart than `margin` (absolute).
    """
    second, first = np.sort(expected, axis=1)[:, -2:].T if expected.shape[1] > 1 else np.zeros((2, len(expected)))
    other = np.flatnonzero((logits.argmax(1) != expected.argmax(1)) & (first - second > margin))
    if not other.size:
        return None
    return (
        f"{name} has another top-1 on {other.size} of {len(logits)} images, the first is image {other[0]}, whose two "
        f"best classes are {(first - second)[other[0]]:.3g} apart > {margin:.3g}, which rounding explains"
    )


def not_here(name: str) -> str | None:
    """Say why a format is not run on this machine, which a file for the processors of phones may need; None for all
    others.

    The program of Paddle 2 that such a file is made from lies beside it and is run.
    """
    if name != "paddlelite":
        return None
    if platform.machine().lower() not in ("aarch64", "arm64"):
        return f"for Arm processors, this is {platform.machine()}"
    return usable()["paddlelite"]


def eager_logits(model: Layer, images: np.ndarray) -> np.ndarray:
    """Return float32 logits [n, classes] of the model in eval mode; the model keeps its modes."""
    import paddle

    from ssld.models import evaluating

    with evaluating(model), paddle.no_grad():
        return np.concatenate([model(paddle.to_tensor(chunk)).astype("float32").numpy() for chunk in chunks(images)])


def chunks(images: np.ndarray, size: int = CHUNK) -> list[np.ndarray]:
    """Return contiguous parts of at most `size` images. The last one may be smaller, which tries the dynamic batch."""
    return [np.ascontiguousarray(images[start : start + size]) for start in range(0, len(images), size)]


def top1(logits: np.ndarray, labels: np.ndarray | None) -> float | None:
    """Return the accuracy in percent over the labelled images; None without any."""
    if labels is None or not (labelled := np.asarray(labels) >= 0).any():
        return None
    return 100.0 * float(np.mean(logits.argmax(1)[labelled] == np.asarray(labels)[labelled]))


def _reject(source: Path, folder: Path) -> None:
    """Move every file of an export into `folder` under its rejected name."""
    folder.mkdir(parents=True, exist_ok=True)
    contract = contracts.read(source)
    for name in (*contract["files"], contracts.CONTRACT):
        if (source / name).exists():
            os.replace(source / name, folder / (name + contracts.REJECTED))
