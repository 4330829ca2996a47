"""Define what a recipe may ask for after its last stage: the files that leave, and how fast they are."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from ssld.config.keys import key
from ssld.spec.formats import FormatName, Precision
from ssld.spec.ranges import Batch, Count, CountOrNone, Opset, Percent, Range, Seconds, Several, Text, Threads

Difference = Annotated[float, Range(above=0, most=100)]
EXACT = {"paddle", "paddle2", "onnx", "paddlelite"}  # formats that compute in float32


@dataclass(frozen=True, kw_only=True)
class Export:
    """Say what is exported, and by how much it may differ from the trained network.

    The `gate_*` keys are thresholds of the gate. A `gate_diff*` is the largest |difference| of logits, relative to the
    largest |logit|; null is what rounding explains in this format and at the depth of the network.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    formats: tuple[FormatName, ...] = ("paddle", "onnx")  # without any, nothing is exported, and nothing is timed
    opset: Opset = 17
    preprocess: bool = key(False, later=True)  # true for a file that takes uint8 NHWC images and gives probabilities
    softmax: bool = key(False, later=True)  # true for a file that gives probabilities
    dynamic_batch: bool = key(True, later=True)  # false for a file that takes one image a call
    plan_precision: Precision = key("fp32", later=True)  # precision of the format tensorrt
    calibration_images: Count = key(512, later=True)  # training images that give int8 its ranges
    gate_images: Count = 256
    gate_images_lossy: Count = key(2000, later=True)  # images of the gate for fp16 or int8: 0.5 points are 10
    gate_top1: Percent = key(0.0, later=True)  # points of top-1 that may be lost; at 0 no image gets another class
    gate_top1_fp16: Percent = key(0.1, later=True)
    gate_top1_int8: Percent = key(0.5, later=True)
    gate_diff: Difference | None = key(None, was=1e-4)
    gate_diff_fp16: Difference | None = key(None, later=True, was=0.02)
    gate_diff_int8: Difference = key(0.5, later=True)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Say what is measured of the exported student."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    engines: Annotated[tuple[Text, ...], Several()] = ("paddle", "onednn", "onnxruntime")
    # Only those that were exported are measured.
    precisions: Annotated[tuple[Precision, ...], Several()] = key(("fp32",), later=True)
    batch_sizes: Annotated[tuple[Batch, ...], Several()] = (1,)
    threads: Threads = 1
    warmup: CountOrNone = 10
    repeats: Count = 500
    seconds: Seconds = 20.0  # a row stops here at the latest; its real number of repeats is recorded


def shrink_export(export: Export, images: int) -> Export:
    """Return the block as a smoke test needs it."""
    small = replace(export, gate_images=images)
    if EXACT.issuperset(export.formats):
        return small
    # Networks with about fresh weights quantise badly.
    small = replace(small, gate_images_lossy=images, calibration_images=images)
    return replace(small, gate_top1_fp16=100.0, gate_top1_int8=100.0, gate_diff_int8=10.0)


def shrink_bench(bench: Bench) -> Bench:
    """Return the block as a smoke test needs it."""
    return replace(bench, batch_sizes=(1,), warmup=1, repeats=2, seconds=1.0)
