"""How each format is written: `paddle` from the network, every other one from the file of another format.

    network -> paddle -> onnx -> fp16, int8 -> tensorrt
    network -> paddle2 -> paddlelite
    network -> paddle2_int8

What can abort runs in a child process.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ssld.config import quantize
from ssld.deploy import contract as contracts
from ssld.deploy import qdq, slim
from ssld.deploy.child import reason, run_command, run_module
from ssld.deploy.int8 import OLDEST_OPSET
from ssld.errors import DeployError
from ssld.spec.formats import Precision

OPSETS = range(9, 22)
"""ONNX opsets that paddle2onnx 2.1 writes; 22 aborts it."""
CONVERT_SECONDS = 900.0
QUANTISE_SECONDS = 3600.0
LITE = "paddle_lite_opt"
PLAN_BATCHES = (1, 1, 32)
"""Smallest, best and largest batch of a TensorRT plan that is written."""

Scales = list[tuple[np.ndarray, float | None]]
"""What `quantize.file_scales` says of a network that was trained in int8."""


@dataclass(frozen=True)
class How:
    """What the files hold beside the network, and for whom they are."""

    opset: int = 17  # of ONNX
    preprocess: bool = False  # uint8 NHWC images in, probabilities out
    softmax: bool = False  # probabilities out
    dynamic_batch: bool = True  # false: one image a call
    plan_precision: Precision = "fp32"  # of a TensorRT plan

    @property
    def probabilities(self) -> bool:
        return self.preprocess or self.softmax

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the input's axes."""
        return ("batch", "height", "width", "channel") if self.preprocess else ("batch", "channel", "height", "width")

    def shape(self, size: int | None) -> list[int | None]:
        """Shape of the input for images of `size` pixels; None is a dynamic axis."""
        sides = {"batch": None if self.dynamic_batch else 1, "channel": 3, "height": size, "width": size}
        return [sides[axis] for axis in self.axes]


PLAIN = How()


def needed(formats: Sequence[str], how: How) -> list[str]:
    """The formats and those that they are made from, in the order in which to write them."""
    made_from = {
        "onnx": "paddle",
        "fp16": "onnx",
        "int8": "onnx",
        "tensorrt": {"fp32": "onnx"}.get(how.plan_precision, how.plan_precision),
        "paddlelite": "paddle2",
    }
    found: set[str] = set()
    for form in formats:
        while form:
            found.add(form)
            form = made_from.get(form, "")
    return [form for form in contracts.FORMATS if form in found]


def calibrated(names: Sequence[str]) -> bool:
    """Whether one of the formats needs images for the ranges of its activations."""
    return bool({"int8", "paddle2_int8"} & set(names))


def check(formats: Sequence[str], how: How, calibration: np.ndarray | None, in_int8: bool = False) -> None:
    """Raise DeployError when a format cannot be written here; nothing has been written then.

    `in_int8`: the network was trained so; it has its ranges, and leaves in int8 only.
    """
    contracts.check_formats(formats)
    names = needed(formats, how)
    in_float = [form for form in formats if form not in quantize.formats(how.plan_precision)]
    if in_int8 and in_float:
        what = f"{in_float[0]} is of float networks and this one was trained in int8"
        raise DeployError(f"export: {what}; choose int8, paddle2_int8, or tensorrt with --precision int8")
    if "onnx" in names:
        check_onnx(how.opset)
    if "int8" in names and how.opset < OLDEST_OPSET:
        raise DeployError(f"export: int8 needs an opset of {OLDEST_OPSET} or more, not {how.opset}; raise --opset")
    if calibrated(names) and not in_int8 and (calibration is None or not len(calibration)):
        raise DeployError("export: int8 needs images to calibrate with; give it some")
    if "paddle2_int8" in names and not find_spec("paddleslim"):
        raise DeployError("export: the format paddle2_int8 needs paddleslim, not installed; pip install 'ssld[int8]'")
    if {"fp16", "int8"} & set(names) and not find_spec("onnxruntime"):
        raise DeployError("export: fp16 and int8 need onnxruntime, not installed; pip install 'ssld[engines]'")
    if "tensorrt" in names:
        from ssld.deploy.engines import _tensorrt

        if why := _tensorrt.why_not():
            raise DeployError(f"export: the format tensorrt: {why}")
    if "paddlelite" in names and not shutil.which(LITE):
        what = f"the format paddlelite needs the command {LITE}, not found"
        raise DeployError(f"export: {what}; pip install paddlelite, or convert --format paddle2 where it is installed")


def check_onnx(opset: int) -> None:
    """Raise DeployError when the opset or this environment does not allow an ONNX export."""
    if opset not in OPSETS:
        raise DeployError(f"export: opset {opset} cannot be written; choose {OPSETS[0]} to {OPSETS[-1]}")
    for package in ("paddle2onnx", "onnx", "polygraphy", "onnx_graphsurgeon"):
        if not find_spec(package):
            raise DeployError(f"export: the format onnx needs {package}, not installed; pip install 'ssld[engines]'")


def write_programs(
    network: Any,
    rounded: Any,
    *,
    folder: Path,
    names: Sequence[str],
    how: How,
    size: int | None,
    calibration: np.ndarray | None,
) -> None:
    """Write those of paddle, paddle2, paddle2_int8 and onnx that are named, for images of `size` pixels (None: of any).

    `rounded`: the same network as it was trained in int8, else `network` again. `calibration`: images as the files take
    them. DeployError where the network cannot be expressed so.
    """
    import paddle

    kind = "uint8" if how.preprocess else "float32"
    spec = paddle.static.InputSpec(how.shape(size), kind, "image")
    if "paddle" in names:
        save_program(network, folder / "model", spec)
    if "paddle2" in names:
        with paddle.pir_utils.OldIrGuard():
            save_program(network, folder / "model2", spec)
        (folder / "model2.pdiparams.info").unlink(missing_ok=True)
    if "paddle2_int8" in names:
        slim.write(rounded, folder / "model2_int8", spec, calibration)
    if "onnx" in names:
        output = "probabilities" if how.probabilities else "logits"
        arguments = [str(folder / "model.json"), str(folder / "model.onnx"), str(how.opset), ",".join(how.axes), output]
        run_module("ssld.deploy.onnx", arguments, what="model.onnx", seconds=CONVERT_SECONDS)


def save_program(network: Any, prefix: Path, spec: Any) -> None:
    """Write the program and `.pdiparams`; raises DeployError when the network cannot be traced."""
    import paddle

    try:
        paddle.jit.save(network, str(prefix), input_spec=[spec])
    except OSError:
        raise
    except Exception as error:  # tracing runs the model's own code: anything may come out of it
        forget_traces()
        raise DeployError(f"{prefix.name}: Paddle cannot trace the network; {reason(str(error))}") from error


def forget_traces() -> None:
    """Remove what Paddle 3 keeps of a program whose tracing failed: the weights that it had met, by the program's id.

    A later program may get the id of that one, which is gone; its tracing would then end in a segmentation fault.
    """
    with suppress(ImportError, AttributeError):  # of a Paddle that is made otherwise
        from paddle.jit.dy2static import parameter_recorder as recorder

        for kept in (recorder._global_parameter_recorder, recorder._global_inplace_map):
            kept.params_dict.clear()
        recorder._global_parameter_recorder.tensor2value.clear()


def write_derived(
    folder: Path, names: Sequence[str], how: How, contract: dict[str, Any], ranges: np.ndarray | Scales | None
) -> dict[str, Any]:
    """Write those of fp16, int8, tensorrt and paddlelite that are named; returns what the contract says of them.

    `ranges`: of int8, those of the training, else images to take them from.
    """
    source, large = folder / "model.onnx", (folder / "model.onnx.data").exists()
    if large and {"fp16", "int8", "tensorrt"} & set(names):
        raise DeployError("export: weights over 2 GiB have no format but paddle, paddle2 and onnx; choose of these")
    if "fp16" in names:
        arguments = [str(source), str(folder / "model.fp16.onnx")]
        run_module("ssld.deploy.half", arguments, what="model.fp16.onnx", seconds=CONVERT_SECONDS)
    if "int8" in names:
        write_int8(folder, ranges)
    if "paddlelite" in names:
        write_lite(folder)
    return {"plan": write_plan(folder, how, contract)} if "tensorrt" in names else {}


def write_int8(folder: Path, ranges: np.ndarray | Scales | None) -> None:
    """Round `model.onnx` to `model.int8.onnx`, in the ranges of a training or those that images show."""
    if isinstance(ranges, list):
        module, given = "ssld.deploy.qdq", folder / "scales.npz"
        qdq.save_scales(given, ranges)
    else:
        module, given = "ssld.deploy.int8", folder / "calibration.npy"
        np.save(given, np.asarray(ranges))
    arguments = [str(folder / "model.onnx"), str(folder / "model.int8.onnx"), str(given)]
    run_module(module, arguments, what="model.int8.onnx", seconds=QUANTISE_SECONDS)
    given.unlink()


def write_plan(folder: Path, how: How, contract: dict[str, Any]) -> dict[str, Any]:
    """Build `model.plan` for the GPU of this machine and images of the contract's size."""
    from ssld.deploy.engines import _gpu, _tensorrt

    made_from = {"fp32": "model.onnx"}.get(how.plan_precision, f"model.{how.plan_precision}.onnx")
    _tensorrt.build(folder / made_from, folder / "model.plan", _gpu.profile(contract, PLAN_BATCHES))
    return {"precision": how.plan_precision, "batches": list(PLAN_BATCHES), **_tensorrt.built_with()}


def write_lite(folder: Path) -> None:
    """Turn `model2.pdmodel` into `model.nb` for the processors of phones, with Paddle Lite's own command."""
    command = [
        LITE,
        f"--model_file={folder / 'model2.pdmodel'}",
        f"--param_file={folder / 'model2.pdiparams'}",
        "--optimize_out_type=naive_buffer",
        f"--optimize_out={folder / 'model'}",
        "--valid_targets=arm",
    ]
    run_command(command, what="model.nb", seconds=CONVERT_SECONDS)
    if not (folder / "model.nb").is_file():
        raise DeployError(f"model.nb: {LITE} ended well and wrote nothing; run it by hand on the format paddle2")
