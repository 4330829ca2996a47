"""This module writes every format: `paddle` from the network, each other one from the file of another format.

    network -> paddle -> onnx -> fp16, int8 -> tensorrt
    network -> paddle2 -> paddlelite
    network -> paddle2_int8

Converters that can abort run in a child process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssld.config import quantize
from ssld.deploy import contract as contracts
from ssld.deploy import int8_from_training, paddle2_int8
from ssld.deploy.child_process import reason, run_command, run_module
from ssld.deploy.int8_from_images import OLDEST_OPSET
from ssld.errors import DeployError
from ssld.spec import ranges
from ssld.spec.formats import Precision

if TYPE_CHECKING:
    from paddle.nn import Layer
    from paddle.static import InputSpec

CONVERT_SECONDS = 900.0
QUANTISE_SECONDS = 3600.0
LITE = "paddle_lite_opt"
PLAN_BATCHES = (1, 1, 32)
"""The smallest, best and largest batch of a TensorRT plan that is written."""

Scales = list[tuple[np.ndarray, float | None]]
"""The weights and the largest |input| of each layer of a network trained in int8, see `quantize.file_scales`."""


@dataclass(frozen=True)
class How:
    """Say what the files hold beside the network, and for whom they are."""

    opset: int = 17  # the opset of the ONNX file
    preprocess: bool = False  # the files take uint8 NHWC images and return probabilities
    softmax: bool = False  # the files return probabilities
    dynamic_batch: bool = True  # False: the files take one image a call
    plan_precision: Precision = "fp32"  # the precision of a TensorRT plan

    @property
    def probabilities(self) -> bool:
        """Return whether the files return probabilities, not logits."""
        return self.preprocess or self.softmax

    @property
    def axes(self) -> tuple[str, ...]:
        """Return the names of the input's axes."""
        return ("batch", "height", "width", "channel") if self.preprocess else ("batch", "channel", "height", "width")

    def shape(self, size: int | None) -> list[int | None]:
        """Return the shape of the input for images of `size` pixels; None is a dynamic axis."""
        sides = {"batch": None if self.dynamic_batch else 1, "channel": 3, "height": size, "width": size}
        return [sides[axis] for axis in self.axes]


PLAIN = How()


def needed(formats: Sequence[str], how: How) -> list[str]:
    """Return the formats and those that they are made from, in the order in which they are written."""
    made_from = {
        "onnx": "paddle",
        "fp16": "onnx",
        "int8": "onnx",
        "tensorrt": {"fp32": "onnx"}.get(how.plan_precision, how.plan_precision),
        "paddlelite": "paddle2",
    }
    names: set[str] = set()
    for form in formats:
        while form:
            names.add(form)
            form = made_from.get(form, "")
    return [form for form in contracts.FORMATS if form in names]


def calibrated(names: Sequence[str]) -> bool:
    """Return whether one of the formats needs images that give the ranges of its activations."""
    return bool({"int8", "paddle2_int8"} & set(names))


def check(formats: Sequence[str], how: How, calibration: np.ndarray | None, in_int8: bool = False) -> None:
    """Raise DeployError when a format cannot be written of this network; nothing has been written then."""
    check_writable(formats, how, in_int8)
    if calibrated(needed(formats, how)) and not in_int8 and (calibration is None or not len(calibration)):
        raise DeployError("export: int8 needs images to calibrate with; give it some")


def check_writable(formats: Sequence[str], how: How, in_int8: bool) -> None:
    """Raise DeployError when a format cannot be written on this machine.

    in_int8: the network was trained in int8; it has its ranges, and can be written in int8 only.
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
    """Raise an error when the opset (RecipeError) or this environment (DeployError) does not allow an ONNX export."""
    ranges.check(ranges.Opset, opset, "export: opset")
    for package in ("paddle2onnx", "onnx", "polygraphy", "onnx_graphsurgeon"):
        if not find_spec(package):
            raise DeployError(f"export: the format onnx needs {package}, not installed; pip install 'ssld[engines]'")


@lru_cache(maxsize=1)
def _other_home() -> tempfile.TemporaryDirectory[str]:
    """Make a folder that is removed with this process: what is traced may be looked at again as long as it lives."""
    return tempfile.TemporaryDirectory(prefix="ssld-traces-")


@contextmanager
def home_elsewhere() -> Iterator[None]:
    """Let Paddle, which writes the code that it traces below the home folder, write into a folder of this process.

    A batch system may give a process no home folder that can be written to.
    """
    before = os.environ.get("HOME")
    os.environ["HOME"] = _other_home().name
    try:
        yield
    finally:
        if before is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = before


@home_elsewhere()
def write_programs(
    network: Layer,
    rounded: Layer,
    *,
    folder: Path,
    names: Sequence[str],
    how: How,
    size: int | None,
    calibration: np.ndarray | None,
) -> None:
    """Write those of paddle, paddle2, paddle2_int8 and onnx that are named.

    size: the images have so many pixels a side; None writes programs for any size. rounded: the same network as it was
    trained in int8, otherwise `network` again. calibration: images as the files take them. Raises DeployError where the
    network cannot be written so.
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
        paddle2_int8.write(rounded, folder / "model2_int8", spec, calibration)
    if "onnx" in names:
        output = "probabilities" if how.probabilities else "logits"
        arguments = [str(folder / "model.json"), str(folder / "model.onnx"), str(how.opset), ",".join(how.axes), output]
        run_module("ssld.deploy.onnx", arguments, what="model.onnx", seconds=CONVERT_SECONDS)


def save_program(network: Layer, prefix: Path, spec: InputSpec) -> None:
    """Write the program and its `.pdiparams`. Raises DeployError when the network cannot be traced."""
    import paddle

    try:
        paddle.jit.save(network, str(prefix), input_spec=[spec])
    except OSError:
        raise
    except Exception as error:  # tracing runs the model's own code, which may raise anything
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
    """Write those of fp16, int8, tensorrt and paddlelite that are named, and return what the contract says of them.

    ranges: for int8 the scales of the training, or images that show the ranges.
    """
    source, large = folder / "model.onnx", (folder / "model.onnx.data").exists()
    if large and {"fp16", "int8", "tensorrt"} & set(names):
        raise DeployError("export: weights over 2 GiB have no format but paddle, paddle2 and onnx; choose of these")
    if "fp16" in names:
        arguments = [str(source), str(folder / "model.fp16.onnx")]
        run_module("ssld.deploy.float16", arguments, what="model.fp16.onnx", seconds=CONVERT_SECONDS)
    if "int8" in names:
        write_int8(folder, ranges)
    if "paddlelite" in names:
        write_lite(folder)
    return {"plan": write_plan(folder, how, contract)} if "tensorrt" in names else {}


def write_int8(folder: Path, ranges: np.ndarray | Scales | None) -> None:
    """Round `model.onnx` to `model.int8.onnx`, in the ranges of a training or in those that images show."""
    if isinstance(ranges, list):
        module, ranges_file = "ssld.deploy.int8_from_training", folder / "scales.npz"
        int8_from_training.save_scales(ranges_file, ranges)
    else:
        module, ranges_file = "ssld.deploy.int8_from_images", folder / "calibration.npy"
        np.save(ranges_file, np.asarray(ranges))
    arguments = [str(folder / "model.onnx"), str(folder / "model.int8.onnx"), str(ranges_file)]
    run_module(module, arguments, what="model.int8.onnx", seconds=QUANTISE_SECONDS)
    ranges_file.unlink()


def write_plan(folder: Path, how: How, contract: dict[str, Any]) -> dict[str, Any]:
    """Build `model.plan` for the GPU of this machine and images of the contract's size, and return its description."""
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
