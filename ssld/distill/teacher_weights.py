"""The weights of a teacher: the file of its card, and what says which weights a file or a network holds."""

import hashlib
from pathlib import Path

import numpy as np
from paddle import nn

from ssld import weights
from ssld.config.cards import TeacherCard
from ssld.errors import RunError
from ssld.files import sha256
from ssld.paths import weights_root

CLASSES = 1000  # of a weights file that does not say how many it has


def teacher_weights(name: str, card: TeacherCard, given: str | None, option: str = "--weights") -> Path:
    """The weights file that is given, by `option`, or the card's in the weights folder. RunError where it is not there,
    or not the one that the card pins."""
    file = Path(given) if given else weights_root() / Path(card.weights.path).name
    if not file.exists():  # a folder of 1.x will do
        raise RunError(f"teacher {name}: no weights at {file}; download {card.weights.url} to there, or give {option}")
    if card.weights.sha256 and not given and sha256(file) != card.weights.sha256:
        raise RunError(f"teacher {name}: {file} is not the file of its card (sha256); download it again")
    return file


def classes_of(file: Path) -> int:
    """The number of classes that a weights file notes, else CLASSES."""
    known = weights.metadata(file) if file.suffix == ".safetensors" else {}
    return int(known.get("num_classes", CLASSES))


def file_digest(file: Path) -> str:
    """sha256 of a weights file, or of the names and digests of the files of a folder of them."""
    if file.is_file():
        return sha256(file)
    parts = sorted((str(part.relative_to(file)), sha256(part)) for part in file.rglob("*") if part.is_file())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def weights_digest(network: nn.Layer) -> str:
    """sha256 over the names and bytes of a network's parameters and statistics."""
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + np.ascontiguousarray(value.numpy()).tobytes())
    return digest.hexdigest()
