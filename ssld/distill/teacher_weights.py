"""Find the weights file of a teacher, and say which weights a file or a network holds."""

import hashlib
from pathlib import Path

import numpy as np
from paddle import nn

from ssld import weights
from ssld.config.cards import TeacherCard
from ssld.errors import RunError
from ssld.files import sha256
from ssld.paths import shelf, weights_root

CLASSES = 1000  # the number of classes of a weights file that does not say it


def teacher_weights(name: str, card: TeacherCard, weights_path: str | None, option: str = "--weights") -> Path:
    """Return the weights file that `option` gives, or else the card's file in the weights folder.

    Raises RunError where the file is missing, or where it is not the one that the card pins.
    """
    file = Path(weights_path) if weights_path else weights_root() / Path(card.weights.path).name
    if not file.exists():  # a folder of version 1.x is accepted
        raise RunError(f"teacher {name}: no weights at {file}; download {card.weights.url} to there, or give {option}")
    if card.weights.sha256 and not weights_path and sha256(file) != card.weights.sha256:
        card_file = name if name.endswith(".yaml") else shelf("teachers") / f"{name}.yaml"
        what = f"{file} is not the file of its card (sha256)"
        raise RunError(f"teacher {name}: {what}; run `ssld weights fetch {card_file}` again")
    return file


def classes_of(file: Path) -> int:
    """Return the number of classes that a weights file notes, or CLASSES where it notes none."""
    metadata = weights.metadata(file) if file.suffix == ".safetensors" else {}
    return int(metadata.get("num_classes", CLASSES))


def file_digest(file: Path) -> str:
    """Return the sha256 of a weights file; for a folder, the sha256 over the names and digests of its files."""
    if file.is_file():
        return sha256(file)
    parts = sorted((str(part.relative_to(file)), sha256(part)) for part in file.rglob("*") if part.is_file())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def weights_digest(network: nn.Layer) -> str:
    """Return the sha256 over the names and bytes of a network's parameters and statistics."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()
