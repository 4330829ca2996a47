"""This module keeps `pins.yaml` in the weights folder: the checksum of each published address when it was first
fetched.

The publishers give no checksums. So the first download of an address is trusted, and later ones have to be the same.

    https://.../ResNet50_vd_pretrained.pdparams:
      sha256: 3f...
      bytes: 102563210
      date: '2026-05-09'
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ssld import yaml_text
from ssld.errors import RecipeError, WeightsError
from ssld.files import alone, write_whole

HEADING = "# What each address held when it was first fetched. Later downloads must be the same. Written by ssld.\n"


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Return {address: sha256, bytes, date}; empty when there is no such file.

    Raises WeightsError when the file is damaged.
    """
    try:
        tree = yaml_text.read(file) if file.exists() else {}
    except RecipeError as error:
        raise WeightsError(f"{error}, or remove the file") from None
    if not isinstance(tree or {}, dict):
        raise WeightsError(f"{file}: not a mapping of addresses; mend or remove it")
    for url, entry in (tree or {}).items():
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise WeightsError(f"{file}: {url}: no sha256; mend or remove this entry")
    return tree or {}


def add(file: Path, url: str, sha256: str, size: int) -> None:
    """Record what an address held. Raises WeightsError when the file cannot be written."""
    today = datetime.now(timezone.utc).date().isoformat()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file.parent):  # two downloads at a time must not drop each other's entry
            entries = read(file) | {url: {"sha256": sha256, "bytes": size, "date": today}}
            write_whole(file, HEADING + yaml_text.dump(entries))
    except OSError as error:
        raise WeightsError(f"{file}: cannot be written ({error.strerror or error}); make room and repeat") from None
