"""Save checkpoints that are whole or invisible.

A checkpoint is a folder `checkpoint-<step>` with safetensors files, `state.json`, and `manifest.json`, which has the
sha256 of each file. It is written under a temporary name, every file and the folder are flushed to disk, and only then
it gets its name. A process that is killed leaves a `.partial` folder, which is never read.
"""

import errno
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ssld import files
from ssld.distill.arrays import Array
from ssld.errors import RunError, SsldError
from ssld.files import put_in_place, read_json, sha256

FULL = (errno.ENOSPC, errno.EDQUOT)  # safetensors names the error only in its text
STATE, MANIFEST = "state.json", "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """Hold the content of a checkpoint.

    `tensors` maps the stem of a file to its keys and arrays. `state` is what JSON can hold, with the step.
    """

    step: int
    tensors: dict[str, dict[str, Array]]
    state: dict[str, Any]


def save(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Any]], state: dict[str, Any], keep: int = 2
) -> Path:
    """Write `checkpoint-<step>` and remove all checkpoints but the newest `keep`.

    Raises RunError when the disk is full.
    """
    final = folder / f"checkpoint-{step:08d}"
    partial = final.with_suffix(".partial")
    with disk_errors(final):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, arrays in tensors.items():
            save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, partial / f"{stem}.safetensors")
        files.write_json(partial / STATE, {"step": step, **state})
        files.write_json(partial / MANIFEST, {f.name: sha256(f) for f in sorted(partial.iterdir())})
        put_in_place(partial, final)
        for outdated in _all(folder)[keep:]:
            shutil.rmtree(outdated)
    return final


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest whole checkpoint, or None where there is none."""
    return next((int(path.name.rpartition("-")[2]) for path in _all(folder) if _damage(path) is None), None)


def load(folder: Path, stage: str = "") -> Checkpoint | None:
    """Return the newest checkpoint whose every byte is as it was written, or None where there is none.

    `stage` is the digest of the stage that goes on. A checkpoint that says another one is of another training. It is
    named on standard error and skipped, and so is a damaged one.
    """
    for path in _all(folder):
        damage = _damage(path)
        if damage is None:
            state = read_json(path / STATE, "")
            if state.get("stage", stage) == stage:
                names = [name for name in read_json(path / MANIFEST, "") if name.endswith(".safetensors")]
                tensors = {Path(name).stem: load_file(path / name) for name in names}
                return Checkpoint(state["step"], tensors, state)
            damage = "it is of another training"
        sys.stderr.write(f"warning: {path}: damaged ({damage}); going on from the checkpoint before it\n")
    return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all. Raises RunError when the disk does not take it."""
    with disk_errors(path):
        files.write_json(path, value)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of a full, read-only or failing disk into a RunError of one line.

    It names the file that the error names, and `path` where it names none.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) in FULL or any(f"os error {number})" in str(error) for number in FULL)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        where = getattr(error, "filename2", None) or getattr(error, "filename", None) or path
        what = "the disk is full; free some space" if full else f"cannot be written ({reason})"
        if isinstance(error, IsADirectoryError):
            what = "is a folder; remove it"
        raise RunError(f"{where}: {what}; what was saved before is untouched, repeat the command to resume") from None


def _all(folder: Path) -> list[Path]:
    """Return the checkpoints that look complete, newest first."""
    paths = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d{8,}", path.name)]
    return sorted(filter(Path.is_dir, paths), reverse=True)


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
