"""Save checkpoints that are whole or invisible.

A checkpoint is a folder `checkpoint-<step>` with safetensors files, `state.json`, and `manifest.json`, which has the
sha256 of each file. It is written under a temporary name, every file and the folder are flushed to disk, and only then
it gets its name. A process that is killed leaves a folder `checkpoint-<step>.partial-<process>`, which is never read.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ssld import files
from ssld.distill.arrays import Array
from ssld.errors import RunError, SsldError
from ssld.files import put_in_place, read_json, sha256, told, unfinished
from ssld.interfaces import Curve
from ssld.progress import note

NAMES = "checkpoint-" + "[0-9]" * 8  # pattern of the names of whole checkpoints
STATE, MANIFEST = "state.json", "manifest.json"


class State(TypedDict):
    """Hold what a checkpoint has beside arrays.

    `seconds` is the time that the stage has taken. `scaler` is the state of mixed precision, and empty without it.
    `stage` is the digest of the stage, and `curve` tells what it had logged; early versions wrote neither.
    """

    seconds: float
    scaler: dict[str, object]
    stage: str
    curve: Curve | None


@dataclass(frozen=True)
class Checkpoint:
    """Hold the content of a checkpoint. `tensors` maps the stem of a file to its keys and arrays."""

    step: int
    tensors: dict[str, dict[str, Array]]
    state: State


def save(folder: Path, step: int, tensors: Mapping[str, Mapping[str, Array]], state: State, keep: int = 2) -> Path:
    """Write `checkpoint-<step>` and remove all checkpoints but the newest `keep`.

    Raises RunError when the disk is full.
    """
    final = folder / f"checkpoint-{step:08d}"
    partial = unfinished(final)
    with disk_errors(final):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, arrays in tensors.items():
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial / f"{stem}.safetensors")
        files.write_json(partial / STATE, {"step": step, **state})
        files.write_json(partial / MANIFEST, {f.name: sha256(f) for f in sorted(partial.iterdir())})
        put_in_place(partial, final)
        shutil.rmtree(partial, ignore_errors=True)  # an older one of this step
        for outdated in _all(folder)[keep:]:
            shutil.rmtree(outdated)
    return final


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest whole checkpoint, or None where there is none."""
    return next((int(path.name.rpartition("-")[2]) for path in _all(folder) if _damage(path) is None), None)


def load(folder: Path, stage: str | None = None) -> Checkpoint | None:
    """Return the newest checkpoint whose every byte is as it was written, or None where there is none.

    `stage` is the digest of the stage that goes on, where one is given. A checkpoint that says another one is of
    another training. It is named on standard error and skipped, and so is a damaged one.
    """
    for path in _all(folder):
        damage = _damage(path)
        if damage is None:
            state = read_json(path / STATE, "")
            if stage is None or state.get("stage", stage) == stage:
                names = [name for name in read_json(path / MANIFEST, "") if name.endswith(".safetensors")]
                tensors = {Path(name).stem: load_file(path / name) for name in names}
                return Checkpoint(state["step"], tensors, cast(State, state))
            damage = "it is of another training"
        note(f"warning: {path}: damaged ({damage}); going on from the checkpoint before it")
    return None


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write JSON, whole or not at all. Raises RunError when the disk does not take it."""
    with disk_errors(path):
        files.write_json(path, value)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of a full, read-only or failing disk into a RunError of one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise RunError(told(error, path, "what was saved before is untouched, repeat the command to resume")) from None


def _all(folder: Path) -> list[Path]:
    """Return the checkpoints that look complete, newest first."""
    return sorted((path for path in folder.glob(NAMES) if path.is_dir()), reverse=True)


def _damage(path: Path) -> str | None:
    """Return, in words, what is wrong with a checkpoint, or None where every byte is as it was written."""
    try:
        manifest = read_json(path / MANIFEST, "")
        changed = [name for name, digest in manifest.items() if sha256(path / name) != digest]
    except (OSError, SsldError) as error:
        return f"{type(error).__name__} while reading it"
    if STATE not in manifest:
        return f"{MANIFEST} does not name {STATE}"
    return f"{changed[0]} has another sha256 than its manifest" if changed else None
