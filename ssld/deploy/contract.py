"""This module describes an exported folder as data: which files a format has, and what goes in and comes out.

model.json model.pdiparams        the Paddle program (PIR) and its weights  format `paddle`
model2.pdmodel model2.pdiparams   the same as a program of Paddle 2         format `paddle2`
model2_int8.pdmodel .pdiparams    quantised, for oneDNN                     format `paddle2_int8`
model.onnx                        the ONNX file                             format `onnx`
model.onnx.data                   its weights, of a network over 2 GiB
model.fp16.onnx                   with weights and maps of 16 bits          format `fp16`
model.int8.onnx                   with Q/DQ pairs and weights of 8 bits     format `int8`
model.plan                        built for one GPU                         format `tensorrt`
model.nb                          for phones                                format `paddlelite`
contract.json                     what they take and return, from what, how they were checked
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssld.errors import DeployError, did_you_mean
from ssld.files import check_content, damaged, read_json, sha256, write_json

CONTRACT = "contract.json"
REJECTED = ".rejected"
AGAIN = "export it again (`ssld export`), or repeat the `ssld run` command that wrote it"
REQUIRED = ("arch", "classes", "digest", "input")
REQUIRED_INPUT = ("size", "mean", "std", "resize")


@dataclass(frozen=True)
class Format:
    """Describe a way to write a network. The gate runs it with `engine`. Large networks have `more` files beside it."""

    files: tuple[str, ...]
    engine: str
    precision: str = "fp32"
    more: tuple[str, ...] = ()
    any_size: bool = True  # False where a file is made for the size of the contract alone

    def among(self, names: Collection[str]) -> list[str]:
        """Return its `files`, and those of `more` that are in `names`; the last one holds the weights."""
        return [*self.files, *(name for name in self.more if name in names)]


FORMATS: dict[str, Format] = {  # there is a row for each name of `spec.formats.FORMATS`
    "paddle": Format(("model.json", "model.pdiparams"), engine="paddle"),
    "paddle2": Format(("model2.pdmodel", "model2.pdiparams"), engine="paddle2"),
    "paddle2_int8": Format(("model2_int8.pdmodel", "model2_int8.pdiparams"), engine="onednn", precision="int8"),
    "onnx": Format(("model.onnx",), engine="onnxruntime", more=("model.onnx.data",)),
    "fp16": Format(("model.fp16.onnx",), engine="onnxruntime", precision="fp16"),
    "int8": Format(("model.int8.onnx",), engine="onnxruntime", precision="int8"),
    "tensorrt": Format(("model.plan",), engine="tensorrt_plan", any_size=False),
    "paddlelite": Format(("model.nb",), engine="paddlelite", any_size=False),
}


def check_formats(formats: Iterable[str]) -> None:
    """Raise DeployError when a format is unknown or none is given."""
    if not (names := list(formats)):
        raise DeployError(f"export: no format given; choose from {', '.join(FORMATS)}")
    for name in names:
        if name not in FORMATS:
            raise DeployError(f"export: no format {name!r}{did_you_mean(name, FORMATS)}")


def check_given(contract: dict[str, Any]) -> None:
    """Raise DeployError unless the contract has what the caller must give.

    That is REQUIRED, and REQUIRED_INPUT in its `input`.
    """
    missing = [key for key in REQUIRED if key not in contract]
    missing += [f"input.{key}" for key in REQUIRED_INPUT if key not in contract.get("input", {})]
    if missing:
        raise DeployError(f"export: the contract lacks {', '.join(missing)}; give what the network was trained on")


def read(folder: Path) -> dict[str, Any]:
    """Read the contract of an export. Raises DeployError when the folder holds none or it is not readable."""
    file = Path(folder) / CONTRACT
    contract = read_json(file, AGAIN, DeployError)
    parts = {key: contract.get(key) for key in ("input", "files")}
    if not all(isinstance(part, dict) for part in parts.values()) or not {"size", "dynamic"} <= set(contract["input"]):
        raise damaged(file, "it names no input size or no files", AGAIN, DeployError)
    return contract


def read_of(folder: Path, digest: str) -> dict[str, Any]:
    """Read the contract of an export that was made of what has this digest. Raises DeployError as `read` does, and for
    the export of something else.
    """
    contract = read(folder)
    if contract.get("digest") != digest:
        raise DeployError(f"{folder}: holds the export of another run or stage; remove it, and {AGAIN}")
    return contract


def write(folder: Path, contract: dict[str, Any]) -> None:
    """Write the contract into the folder of an export. Raises OSError where the disk does not take it."""
    write_json(folder / CONTRACT, contract)


def formats_of(contract: dict[str, Any]) -> list[str]:
    """Return the formats whose files the contract lists."""
    return [name for name, form in FORMATS.items() if set(form.files) <= contract["files"].keys()]


def precision_of(name: str, contract: dict[str, Any]) -> str:
    """Return what the files of a format compute in: `fp32`, `fp16` or `int8`.

    Of a TensorRT plan the contract says it.
    """
    return contract["plan"]["precision"] if name == "tensorrt" else FORMATS[name].precision


def describe(file: Path) -> dict[str, Any]:
    """Return {"bytes", "sha256"} of a file."""
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}


def check_files(folder: Path, contract: dict[str, Any], names: Iterable[str]) -> None:
    """Raise DeployError when a file is missing or is not, byte for byte, the one that was exported."""
    for name in names:
        file = folder / name
        if name not in contract["files"]:
            raise DeployError(f"{file}: no such file in this export; export the model in that format")
        check_content(file, contract["files"][name]["sha256"], AGAIN, DeployError)
