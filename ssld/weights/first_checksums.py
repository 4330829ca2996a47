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
from urllib.parse import unquote

from ssld import yaml_text
from ssld.errors import RecipeError, WeightsError
from ssld.files import alone, damaged, read_text, sha256, write_whole

NAME = "pins.yaml"
MEND = "mend it, or remove it: the next downloads are then trusted"
HEADING = "# What each address held when it was first fetched. Later downloads must be the same. Written by ssld.\n"


def read(file: Path) -> dict[str, dict[str, Any]]:
    """Return {address: sha256, bytes, date}; empty when there is no such file.

    Raises WeightsError when the file is damaged.
    """
    if not file.exists():
        return {}
    text = read_text(file, MEND, WeightsError)
    try:
        tree = yaml_text.parse(text)
    except RecipeError as error:
        raise damaged(file, str(error).partition(";")[0], MEND, WeightsError) from None
    if not isinstance(tree, dict):
        raise damaged(file, "no mapping of addresses", MEND, WeightsError)
    for url, entry in tree.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise WeightsError(f"{file}: {url}: no sha256; mend or remove this entry")
    return tree


def check(file: Path) -> None:
    """Check a file of weights that lies beside pins.yaml: it has the sha256 of one of the addresses of its name.

    A file of another name was not fetched, and is not checked. Raises WeightsError otherwise.
    """
    beside = file.with_name(NAME)
    if not (file.is_file() and beside.exists()):
        return
    pins = [entry["sha256"] for url, entry in read(beside).items() if unquote(url).rpartition("/")[2] == file.name]
    if pins and sha256(file) not in pins:
        what = f"it is not what was fetched: its sha256 is another one than in {NAME}"
        raise damaged(file, what, "remove it, and fetch or import it again (`ssld weights`)", WeightsError)


def add(file: Path, url: str, digest: str, size: int) -> None:
    """Record what an address held. Raises WeightsError when the file cannot be written."""
    today = datetime.now(timezone.utc).date().isoformat()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with alone(file.parent):  # two downloads at a time must not drop each other's entry
            entries = read(file) | {url: {"sha256": digest, "bytes": size, "date": today}}
            write_whole(file, HEADING + yaml_text.dump(entries))
    except OSError as error:
        raise WeightsError(f"{file}: cannot be written ({error.strerror or error}); make room and repeat") from None
