"""What a recipe may ask for after its last stage: the files that leave, and how fast they are."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ssld.spec.formats import FormatName, Precision

LATER = {  # keys younger than recorded results, with their defaults
    **{"preprocess": False, "softmax": False, "dynamic_batch": True, "plan_precision": "fp32"},
    **{"gate_images_lossy": 2000, "gate_top1": 0.0, "gate_top1_fp16": 0.1, "gate_top1_int8": 0.5},
    **{"gate_diff_fp16": 0.02, "gate_diff_int8": 0.5, "calibration_images": 512},
    **{"precisions": ["fp32"]},
}
EXACT = {"paddle", "paddle2", "onnx", "paddlelite"}  # formats that compute in float32


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is written, and what it may differ by from the trained network: `gate_*` are thresholds of the gate."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    formats: tuple[FormatName, ...] = ("paddle", "onnx")
    opset: int = 17
    preprocess: bool = False  # true: uint8 NHWC images in, probabilities out
    softmax: bool = False  # true: probabilities out
    dynamic_batch: bool = True  # false: one image a call
    plan_precision: Precision = "fp32"  # of the format tensorrt
    calibration_images: int = 512  # training images that give int8 its ranges
    gate_images: int = 256
    gate_images_lossy: int = 2000  # where fp16 or int8 is among the formats: 0.5 points are 10 of them
    gate_top1: float = 0.0  # points; 0: the same class for every image
    gate_top1_fp16: float = 0.1
    gate_top1_int8: float = 0.5
    gate_diff: float = 1e-4  # largest |difference| of logits, relative to the largest |logit|
    gate_diff_fp16: float = 0.02
    gate_diff_int8: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured of the exported student."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    engines: tuple[str, ...] = ("paddle", "onednn", "onnxruntime")
    precisions: tuple[Precision, ...] = ("fp32",)  # those of them that were exported
    batch_sizes: tuple[int, ...] = (1,)
    threads: int = 1
    warmup: int = 10
    repeats: int = 500
    seconds: float = 20.0  # a row stops here at the latest; its real number of repeats is recorded


def shrink(export: dict[str, Any], bench: dict[str, Any], images: int) -> None:
    """Change the two blocks, as mappings, to what a smoke test needs."""
    export |= {"gate_images": images}
    if not EXACT.issuperset(export["formats"]):  # networks with about fresh weights quantise badly
        few = {"gate_images_lossy": images, "calibration_images": images}
        export |= {**few, "gate_top1_fp16": 100.0, "gate_top1_int8": 100.0, "gate_diff_int8": 10.0}
    bench |= {"batch_sizes": [1], "warmup": 1, "repeats": 2, "seconds": 1.0}
