"""Write a network as files that run without this library, and the contract that says what they take and return.

They take float32 NCHW images, normalised as the contract says, and return logits, or with their ends inside (`How`)
uint8 NHWC images and probabilities. The batch is dynamic unless asked otherwise; height and width are too wherever the
network takes more than one size and the converters can express it: `input.dynamic` of the contract says so.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ssld.deploy import contract as contracts
from ssld.deploy import formats as forms
from ssld.deploy.ends import as_given, with_ends
from ssld.deploy.formats import PLAIN, How
from ssld.errors import DeployError
from ssld.spec.colours import WHITE


def export_model(
    model: Any,
    folder: str | Path,
    *,
    name: str,
    contract: dict[str, Any],
    formats: Sequence[str] = ("paddle", "onnx"),
    how: How = PLAIN,
    calibration: np.ndarray | None = None,
) -> None:
    """Write `model` (any paddle Layer: float32 [n, 3, S, S] -> logits [n, classes]) into `folder`, ungated.

    One that was trained in int8 (`ssld.quantize`) leaves as int8, rounded where and as it was in the training.

    `contract` gives arch, classes, digest and input {size, mean, std, resize}; other keys are kept as they are.
    `calibration`: normalised images float32 [n, 3, S, S], which int8 needs. The model keeps its train or eval mode.
    Files appear all at once, when everything is written. A folder with the export of another digest, or with files
    that are no export, is refused with a DeployError: `release` replaces the former.
    """
    folder = Path(folder)
    if (folder / contracts.CONTRACT).is_file():
        there = contracts.read(folder)
        if there.get("digest") != contract.get("digest"):
            held = f"{there.get('name')} ({str(there.get('digest'))[:8]})"
            raise DeployError(f"{folder}: holds the export of {held}; choose another folder or remove that one")
    with staging(folder) as partial:
        write_files(model, partial, name=name, contract=contract, formats=formats, how=how, calibration=calibration)
        replace(partial, folder)


def write_files(
    model: Any,
    folder: Path,
    *,
    name: str,
    contract: dict[str, Any],
    formats: Sequence[str],
    how: How,
    calibration: np.ndarray | None,
) -> None:
    """Write the files of all formats and the contract into an empty folder."""
    from ssld import quantize, runtime  # import Paddle
    from ssld.models import evaluating

    in_int8 = bool(quantize.quantised(model))
    forms.check(formats, how, calibration, in_int8)
    contracts.check_given(contract)
    size, names = int(contract["input"]["size"]), forms.needed(formats, how)
    ends = _ends(contract, how)
    given = None if calibration is None else as_given(calibration, ends["input"])[0]
    exact = quantize.float_twin(model) if in_int8 else model
    scales = quantize.file_scales(model, exact) if in_int8 else None
    ends_inside: dict[str, Any] = {"preprocess": how.preprocess, "softmax": how.probabilities}
    network, rounded = (with_ends(one, contract["input"], **ends_inside) for one in (exact, model))
    with evaluating(network), evaluating(rounded):
        programs: dict[str, Any] = {"folder": folder, "names": names, "how": how, "calibration": given}
        any_size = takes_other_sizes(exact, size, _class_number(contract["classes"]))
        any_size = any_size and _any_size(network, rounded, **programs)
        if any_size:
            ends["input"]["dynamic"] += ["height", "width"]
        else:
            forms.write_programs(network, rounded, size=size, **programs)
    full = {"name": name, **contract, **ends, "opset": how.opset if "onnx" in names else None}
    full |= forms.write_derived(folder, names, how, full, given if scales is None else scales)
    written = {path.name for path in folder.iterdir()}
    asked = [*formats, "paddle2"] if "paddlelite" in formats else formats  # what the gate can run everywhere
    kept = [file for form in contracts.FORMATS if form in asked for file in contracts.FORMATS[form].among(written)]
    for file in written - set(kept):  # what others were made from
        (folder / file).unlink()
    full |= {"files": {file: contracts.describe(folder / file) for file in kept}, "versions": runtime.versions()}
    contracts.write(folder, full)


def _any_size(network: Any, rounded: Any, **programs: Any) -> bool:
    """Write the programs for images of any size; False where that cannot be expressed."""
    try:
        forms.write_programs(network, rounded, size=None, **programs)
    except DeployError:
        return False
    return True


def _ends(contract: dict[str, Any], how: How) -> dict[str, Any]:
    """What the contract says of input and output, for images of one size."""
    image = {
        "name": "image",
        "dtype": "uint8" if how.preprocess else "float32",
        "layout": "NHWC" if how.preprocess else "NCHW",
        "dynamic": ["batch"] if how.dynamic_batch else [],
        "background": list(WHITE),
        "rounding": "half up",
    }
    shape = ["batch" if how.dynamic_batch else 1, _class_number(contract["classes"])]
    made = {"name": "probabilities" if how.probabilities else "logits", "dtype": "float32", "shape": shape}
    return {"input": {**image, **contract["input"]}, "output": made}


def takes_other_sizes(model: Any, size: int, classes: int) -> bool:
    """Whether the network has logits [1, classes] for an image 32 pixels larger.

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
