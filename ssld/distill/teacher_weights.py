"""Find the weights file of a teacher, and say which weights a file or a network holds."""

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import paddle
from paddle import nn

from ssld import models, weights
from ssld.config import cards, typed
from ssld.config.cards import Input, Model, TeacherCard
from ssld.config.keys import plain
from ssld.config.recipe import Data
from ssld.errors import RecipeError, RunError, WeightsError
from ssld.files import sha256
from ssld.paths import shelf, weights_root
from ssld.progress import note

CLASSES = 1000  # the number of classes of a weights file that does not say it
LARGEST_SIDE = 2**14  # pixels; a larger one in a weights file is no side of a network's images
Described = TypeVar("Described", Model, TeacherCard)


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
    """Return the number of classes that a weights file notes, or CLASSES where it notes none.

    Raises WeightsError for a file that is damaged, or notes a number that is not that of its arrays.
    """
    return (weights.noted_classes(file) if file.suffix == ".safetensors" else None) or CLASSES


def check_card(name: str, network: nn.Layer) -> None:
    """Check that the costs on the card of a teacher are those of its network, which was made with its weights' classes.

    The card may count the network with these classes, or with CLASSES. Raises RunError where it counts another one.
    """
    card = cards.find_teacher(name)
    counted = {"params": models.parameters(network), "macs": card.macs}
    if counted["params"] == card.params:
        counted["macs"] = models.count(network, card.input.size)[1]
    elif getattr(network, "num_classes", CLASSES) != CLASSES:
        with paddle.LazyGuard():
            counted["params"] = models.parameters(models.create(card.arch, num_classes=CLASSES))
    for key, number in counted.items():
        if getattr(card, key) != number:
            what = f"its card says {key}: {getattr(card, key)}, {card.arch} has {number}"
            raise RunError(f"teacher {name}: {what}; correct the card, or check its arch")


def save_trained(network: nn.Layer, file: Path, data: Data, digest: str) -> None:
    """Write the weights of a network that was trained on images as `data` shows them.

    A file beside it says how an evaluation shows images to it, so that nobody has to know it (`recorded_input`). That
    is no part of the weights, whose bytes do not depend on it. `digest` names the training. Raises WeightsError as
    `weights.save` does.
    """
    weights.save(network, file, digest=digest, beside={"input": json.dumps(plain(data.evaluated))})


def recorded_input(file: Path) -> Input | None:
    """Return how a weights file of a training, or the file beside it, says that images are shown; None where none does.

    Raises WeightsError for a file whose record cannot be used.
    """
    record = weights.metadata(file).get("input") if file.is_file() else None
    if record is None:
        return None
    try:
        shown = typed.build(json.loads(record), Input, "input")
    except (ValueError, RecursionError, RecipeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{file}: its record of the input cannot be used ({reason}); copy the file again") from None
    if not 0 < shown.size <= shown.resize <= LARGEST_SIDE or 0 in shown.std:
        raise WeightsError(f"{file}: its record of the input is out of range ({record[:200]}); copy the file again")
    return shown


def as_trained(described: Described, file: Path) -> Described:
    """Return a card with the input that the weights of a file were trained for, where the file says it.

    The card stays as it is where the file says nothing. A line on standard error says which input is taken, where
    anybody could expect another one. Raises WeightsError as `recorded_input` does.
    """
    shown, own = recorded_input(file), described.input
    if shown is None and is_own_training(file):
        note(f"{file}: does not say for which images it was trained; they are shown as the card says, {own.size} px")
    if shown is None or shown == own:
        return described
    differing = [f.name for f in fields(own) if getattr(shown, f.name) != getattr(own, f.name)]
    what = ", ".join(f"{name} {getattr(shown, name)} (card: {getattr(own, name)})" for name in differing)
    note(f"{file}: images are shown as its training says: {what}")
    return replace(described, input=shown)


def tell_other_input(who: str, file: Path, shown: Input) -> None:
    """Say on standard error where images are shown to a teacher in another way than its weights file says.

    The short side before the crop may differ, because a recipe sets it for all.
    """
    recorded = recorded_input(file) or shown
    for name in ("size", "mean", "std"):
        if (theirs := getattr(recorded, name)) != (ours := getattr(shown, name)):
            note(f"{who}: {file} was trained for input.{name} {theirs}, images are shown to it with {ours}")


def is_own_training(file: Path) -> bool:
    """Say whether a weights file is of a training by this package, or has other classes than ImageNet's."""
    return classes_of(file) != CLASSES or (file.suffix == ".safetensors" and "digest" in weights.metadata(file))


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
