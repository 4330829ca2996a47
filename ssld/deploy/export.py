"""This module writes a network as files that run without this library, and the contract that describes them.

The files take float32 NCHW images, normalised as the contract says, and return logits. With processing inside (`How`)
they take uint8 NHWC images and return probabilities. The batch is dynamic unless `How` fixes it. Height and width are
dynamic wherever the network takes more than one size and the converters can express it; `input.dynamic` of the contract
says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy import formats as forms
from ssld.deploy.formats import PLAIN, How
from ssld.deploy.processing import as_file_input, with_processing
from ssld.errors import DeployError
from ssld.files import alone, clear, put_in_place, unfinished, writing
from ssld.spec.colours import WHITE

if TYPE_CHECKING:
    from paddle.nn import Layer


def export_model(
    model: Layer,
    folder: str | Path,
    *,
    name: str,
    contract: dict[str, Any],
    formats: Sequence[str] = ("paddle", "onnx"),
    how: How = PLAIN,
    calibration: np.ndarray | None = None,
) -> None:
    """Write `model` (any paddle Layer: float32 [n, 3, S, S] -> logits [n, classes]) into `folder`, without the gate.

    A model that was trained in int8 (`ssld.quantize`) is written in int8, rounded where and as it was in the training.

    contract: it gives arch, classes, digest and input {size, mean, std, resize}; other keys are kept as they are.
    calibration: normalised images float32 [n, 3, S, S], which int8 needs. The model keeps its train or eval mode.

    The files appear all at once, when everything is written. Raises DeployError for a folder with the export of another
    digest, and for one with files that are no export. (`release` replaces an export of another digest.)
    """
    folder = Path(folder)
    if (folder / contracts.CONTRACT).is_file():
        try:
            existing = contracts.read(folder)
        except DeployError:
            existing = contract  # a damaged contract says nothing, and this export replaces it
        if existing.get("digest") != contract.get("digest"):
            description = f"{existing.get('name')} ({str(existing.get('digest'))[:8]})"
            raise DeployError(f"{folder}: holds the export of {description}; choose another folder or remove that one")
    with staging(folder) as partial:
        write_files(model, partial, name=name, contract=contract, formats=formats, how=how, calibration=calibration)
        replace(partial, folder)


def write_files(
    model: Layer,
    folder: Path,
    *,
    name: str,
    contract: dict[str, Any],
    formats: Sequence[str],
    how: How,
    calibration: np.ndarray | None,
) -> None:
    """Write the files of all formats and the contract into an empty folder."""
    from ssld import quantize, runtime  # these import Paddle
    from ssld.models import evaluating

    in_int8 = bool(quantize.quantised(model))
    forms.check(formats, how, calibration, in_int8)
    contracts.check_given(contract)
    size, names = int(contract["input"]["size"]), forms.needed(formats, how)
    interface = _input_and_output(contract, how)
    ranges_from = None if calibration is None else as_file_input(calibration, interface["input"])[0]
    exact = quantize.float_twin(model) if in_int8 else model
    scales = quantize.file_scales(model, exact) if in_int8 else None
    options: dict[str, Any] = {"preprocess": how.preprocess, "softmax": how.probabilities}
    network, rounded = (with_processing(layer, contract["input"], **options) for layer in (exact, model))
    with evaluating(network), evaluating(rounded):
        programs: dict[str, Any] = {"folder": folder, "names": names, "how": how, "calibration": ranges_from}
        any_size = takes_other_sizes(exact, size, _class_number(contract["classes"]))
        any_size = any_size and _any_size(network, rounded, **programs)
        if any_size:
            interface["input"]["dynamic"] += ["height", "width"]
        else:
            forms.write_programs(network, rounded, size=size, **programs)
    full = {"name": name, **contract, **interface, "opset": how.opset if "onnx" in names else None}
    full |= forms.write_derived(folder, names, how, full, ranges_from if scales is None else scales)
    file_names = {path.name for path in folder.iterdir()}
    # The gate can run this one on every machine.
    released = [*formats, "paddle2"] if "paddlelite" in formats else formats
    kept_files = [
        file for form in contracts.FORMATS if form in released for file in contracts.FORMATS[form].among(file_names)
    ]
    for file in file_names - set(kept_files):  # other files were made from these
        (folder / file).unlink()
    full |= {"files": {file: contracts.describe(folder / file) for file in kept_files}, "versions": runtime.versions()}
    contracts.write(folder, full)


def _any_size(network: Layer, rounded: Layer, **programs: Any) -> bool:
    """Write the programs for images of any size. Returns False where the network or a converter cannot express that."""
    try:
        forms.write_programs(network, rounded, size=None, **programs)
    except DeployError:
        return False
    return True


def _input_and_output(contract: dict[str, Any], how: How) -> dict[str, Any]:
    """Return what the contract says of input and output, for images of one size."""
    image = {
        "name": "image",
        "dtype": "uint8" if how.preprocess else "float32",
        "layout": "NHWC" if how.preprocess else "NCHW",
        "dynamic": ["batch"] if how.dynamic_batch else [],
        "background": list(WHITE),
        "rounding": "half up",
    }
    shape = ["batch" if how.dynamic_batch else 1, _class_number(contract["classes"])]
    output = {"name": "probabilities" if how.probabilities else "logits", "dtype": "float32", "shape": shape}
    return {"input": {**image, **contract["input"]}, "output": output}


def takes_other_sizes(model: Layer, size: int, classes: int) -> bool:
    """Try whether the network has logits [1, classes] for an image 32 pixels larger.

    A fully connected head on a fixed grid does not, nor does one whose code makes a larger map into more rows.
    """
    import paddle

    try:
        with paddle.no_grad():
            logits = model(paddle.zeros([1, 3, size + 32, size + 32]))
    except Exception:  # noqa: BLE001 - it runs the model's own code: anything may come out of it
        return False
    return list(logits.shape) == [1, classes]


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """Make a temporary folder beside `folder`, so that a rename is atomic, and remove it afterwards.

    What killed processes have left of such folders is removed too. Raises DeployError where files cannot be written.
    """
    hidden = folder.with_name(f".{folder.name}")
    partial = unfinished(hidden)
    try:
        with writing(folder, DeployError, "choose another folder"):
            clear(folder.parent, hidden.name)
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with alone(partial):  # so that nobody clears it away
                yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace(partial: Path, folder: Path) -> None:
    """Give the files of `partial` to `folder`, at once, and those of an export that is there to `partial`.

    Raises DeployError for a folder with files that no export writes, because they are not ours to remove.
    """
    ours = {contracts.CONTRACT, *(file for form in contracts.FORMATS.values() for file in (*form.files, *form.more))}
    if folder.exists():
        others = sorted(p.name for p in folder.iterdir() if p.name.removesuffix(contracts.REJECTED) not in ours)
        if others:
            raise DeployError(f"{folder}: holds {others[0]!r}, which is no export; choose an empty or a new folder")
    put_in_place(partial, folder)


def _class_number(classes: int | Sequence[str]) -> int:
    """Return the number of classes, of which a contract gives the number or the names."""
    return classes if isinstance(classes, int) else len(classes)
