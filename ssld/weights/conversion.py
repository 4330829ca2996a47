"""This module turns published weights into a safetensors file of ours that says where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ssld.errors import WeightsError
from ssld.files import sha256
from ssld.progress import note
from ssld.spec.revisions import Revision
from ssld.weights import first_checksums, store
from ssld.weights.loading import check, floats, read
from ssld.weights.recognise import mismatch, num_classes, shapes, twins


def convert(
    path: str | Path, arch: str, out: str | Path | None = None, revision: Revision | None = None, force: bool = False
) -> dict[str, Any]:
    """Read weights of any kind and flavour, strictly, and write them to `out` (beside the file by default).

    The number of classes is that of the head. Returns what was read and written. Raises WeightsError when the weights
    are not those of `arch`, and when `out` holds something else, unless `force`.
    """
    path = Path(path)
    out = Path(out) if out else path.with_name(f"{path.name if path.is_dir() else path.stem}.safetensors")
    if out.suffix != ".safetensors":
        raise WeightsError(f"{out}: what is written is a safetensors file; give --out this ending")
    weights = read(path, arch, revision)
    classes = num_classes(weights.contents, weights.way)
    if classes is None:
        raise mismatch(weights.contents, arch)
    check(weights, shapes(arch, classes, weights.way.revision), classes)
    state = {key: floats(weights.contents.path, key, entry) for key, entry in weights.state.items()}
    digest, size = _source(path)
    facts = {
        "arch": arch,
        "num_classes": str(classes),
        "revision": weights.way.revision,
        "flavour": weights.way.flavour,
        "source": path.name,
        "source_sha256": digest,
        "source_bytes": str(size),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    if "input" in weights.contents.metadata:  # the images that a training was made for
        facts["input"] = weights.contents.metadata["input"]
    if others := twins(weights.contents, weights.way):
        note(f"{path}: its keys and shapes are those of {' and '.join(others)} too; make sure that it is {arch}")
    must_write = force or not _already(out, state, facts)
    if must_write:
        store.save(state, out, beside=None, **facts)
        if (pins := out.with_name(first_checksums.NAME)).exists():
            first_checksums.add(pins, out.name, sha256(out), out.stat().st_size)
    return {
        "file": str(out),
        "status": "written" if must_write else "already there",
        **facts,
        "keys": len(state),
        "parameters": sum(a.size for key, a in state.items() if not key.endswith(("._mean", "._variance"))),
        "bytes": out.stat().st_size,
        "sha256": sha256(out),
    }


def _already(out: Path, state: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> bool:
    """Return whether `out` holds exactly this, from whatever day. Raises WeightsError when it holds something else."""
    if not out.exists():
        return False
    try:
        arrays, recorded_facts = store.load(out), {**store.metadata(out), "date": facts["date"]}
    except WeightsError:
        arrays, recorded_facts = {}, {}
    if (
        recorded_facts != facts
        or arrays.keys() != state.keys()
        or any(not np.array_equal(arrays[k], state[k]) for k in state)
    ):
        raise WeightsError(f"{out}: is there and holds something else; give another --out, or --force to replace it")
    return True


def _source(path: Path) -> tuple[str, int]:
    """Return (sha256, bytes) of a file, or of a folder.

    The sha256 of a folder is that of the list that `sha256sum` prints of its files, sorted by path.
    """
    if path.is_file():
        return sha256(path), path.stat().st_size
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    lines = "".join(f"{sha256(file)}  {name}\n" for name, file in files)
    return hashlib.sha256(lines.encode()).hexdigest(), sum(file.stat().st_size for _, file in files)
