"""Write a network as files that run without this library: a Paddle program, an ONNX file and their contract.

Both take float32 NCHW images, normalised as the contract says, and return logits. The batch is dynamic; height and
width are too wherever the network takes more than one size and the converters can express it: `input.dynamic` of the
contract says so.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ssld.deploy import contract as contracts
from ssld.deploy.child import reason, run_module
from ssld.errors import DeployError

OPSETS = range(9, 22)
"""ONNX opsets that paddle2onnx 2.1 writes; 22 aborts it."""
CONVERT_SECONDS = 900.0


def export_model(
    model: Any,
    folder: str | Path,
    *,
    name: str,
    formats: Sequence[str] = ("paddle", "onnx"),
    opset: int = 17,
    contract: dict[str, Any],
) -> None:
    """Write `model` (any paddle Layer: float32 [n, 3, S, S] -> logits [n, classes]) into `folder`, ungated.

    `contract` gives arch, classes, digest and input {size, mean, std, resize}; other keys are kept as they are. The
    model keeps its train or eval mode. Files appear all at once, when everything is written. A folder with the export
    of another digest, or with files that are no export, is refused with a DeployError: `release` replaces the former.
    """
    folder = Path(folder)
    if (folder / contracts.CONTRACT).is_file():
        there = contracts.read(folder)
        if there.get("digest") != contract.get("digest"):
            held = f"{there.get('name')} ({str(there.get('digest'))[:8]})"
            raise DeployError(f"{folder}: holds the export of {held}; choose another folder or remove that one")
    with staging(folder) as partial:
        write_files(model, partial, name=name, formats=formats, opset=opset, contract=contract)
        replace(partial, folder)


def write_files(
    model: Any, folder: Path, *, name: str, formats: Sequence[str], opset: int, contract: dict[str, Any]
) -> None:
    """Write the files of all formats and the contract into an empty folder."""
    from ssld import runtime  # imports Paddle

    contracts.check_formats(formats)
    contracts.check_given(contract)
    if "onnx" in formats:
        check_onnx(opset)
    size = int(contract["input"]["size"])
    with evaluating(model):
        dynamic = takes_other_sizes(model, size) and _write_all(model, folder, formats, opset, None)
        if not dynamic:
            _write_all(model, folder, formats, opset, size)
    written = {path.name for path in folder.iterdir()}
    names = [file for form in formats for file in contracts.FORMATS[form].among(written)]
    for file in set(contracts.FORMATS["paddle"].files) - set(names):
        (folder / file).unlink()
    axes = ["batch", "height", "width"] if dynamic else ["batch"]
    image = {"name": "image", "dtype": "float32", "layout": "NCHW", "dynamic": axes}
    full = {
        "name": name,
        **contract,
        "input": {**image, **contract["input"]},
        "output": {"name": "logits", "dtype": "float32", "shape": ["batch", _class_number(contract["classes"])]},
        "opset": opset if "onnx" in formats else None,
        "files": {file: contracts.describe(folder / file) for file in names},
        "versions": runtime.versions(),
    }
    contracts.write(folder, full)


def check_onnx(opset: int) -> None:
    """Raise DeployError when the opset or this environment does not allow an ONNX export."""
    if opset not in OPSETS:
        raise DeployError(f"export: opset {opset} cannot be written; choose {OPSETS[0]} to {OPSETS[-1]}")
    for package in ("paddle2onnx", "onnx", "polygraphy", "onnx_graphsurgeon"):
        if not find_spec(package):
            raise DeployError(f"export: the format onnx needs {package}, not installed; pip install 'ssld[engines]'")


def _write_all(model: Any, folder: Path, formats: Sequence[str], opset: int, size: int | None) -> bool:
    """Write every format for one image size, or for any size (None); False where any size cannot be expressed."""
    try:
        save_program(model, folder, size)
        if "onnx" in formats:
            arguments = [str(folder / "model.json"), str(folder / "model.onnx"), str(opset)]
            run_module("ssld.deploy.onnx", arguments, what="model.onnx", seconds=CONVERT_SECONDS)
    except DeployError:
        if size is not None:
            raise
        return False
    return True


def save_program(model: Any, folder: Path, size: int | None) -> None:
    """Write `model.json` + `model.pdiparams`; raises DeployError when the network cannot be traced."""
    import paddle

    spec = paddle.static.InputSpec([None, 3, size, size], "float32", "image")
    try:
        paddle.jit.save(model, str(folder / "model"), input_spec=[spec])
    except OSError:
        raise
    except Exception as error:  # tracing runs the model's own code: anything may come out of it
        raise DeployError(f"model.json: Paddle cannot trace the network; {reason(str(error))}") from error


def takes_other_sizes(model: Any, size: int) -> bool:
    """Whether the network runs on images 32 pixels larger: a fully connected head on a fixed grid does not."""
    import paddle

    try:
        with paddle.no_grad():
            model(paddle.zeros([1, 3, size + 32, size + 32]))
    except (ValueError, RuntimeError):
        return False
    return True


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put every layer in eval mode, and back into the mode that each had."""
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` (so that a rename is atomic), gone afterwards; DeployError if unwritable."""
    partial = folder.parent / f".{folder.name}.partial-{os.getpid()}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
    except OSError as error:
        raise DeployError(
            f"{folder}: cannot be written ({error.strerror or error}); free it or choose another"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace(partial: Path, folder: Path) -> None:
    """Rename `partial` to `folder`; an export there is set aside first and removed last.

    Files that no export writes are not ours to remove: they raise DeployError.
    """
    ours = {contracts.CONTRACT, *(file for form in contracts.FORMATS.values() for file in (*form.files, *form.more))}
    if folder.exists():
        others = sorted(p.name for p in folder.iterdir() if p.name.removesuffix(contracts.REJECTED) not in ours)
        if others:
            raise DeployError(f"{folder}: holds {others[0]!r}, which is no export; choose an empty or a new folder")
    previous = partial.with_name(partial.name + ".previous")
    with suppress(FileNotFoundError):
        folder.rename(previous)
    partial.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _class_number(classes: Any) -> int:
    return classes if isinstance(classes, int) else len(classes)
