"""A teacher that gives probabilities for images, without a student: what `ssld mine` asks."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import paddle
from paddle import nn

from ssld import models, weights
from ssld.config.cards import Input, TeacherCard
from ssld.config.recipe import Data
from ssld.data import EvalLoader, FileList, sampler
from ssld.distill.engine import compiled
from ssld.distill.evaluate import evaluate
from ssld.distill.metrics import softmax
from ssld.distill.teacher import TeacherLogits, gate
from ssld.errors import RunError
from ssld.files import sha256
from ssld.paths import weights_root
from ssld.progress import note, progress
from ssld.runtime import Runtime, cores

CLASSES = 1000  # of a weights file that does not say how many it has


class Trained(Protocol):
    """What is known of a training: a card, or the stage of a run that trained a teacher."""

    @property
    def arch(self) -> str: ...

    @property
    def top1(self) -> float: ...

    @property
    def input(self) -> Input: ...


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


def load_network(card: Trained, file: Path) -> nn.Layer:
    """The card's network with these weights, in evaluation mode; every key must fit (WeightsError)."""
    network = models.create(card.arch, num_classes=classes_of(file), in_size=card.input.size)
    weights.load_into(network, file)
    network.eval()
    return network


def check_teacher(
    name: str, card: Trained, network: nn.Layer, files: FileList, images: int, here: Runtime, quiet: bool
) -> None:
    """RunError unless its top-1 on a slice of labelled images is about what its card says, see `teacher.gate`."""
    if not images:
        return
    if (files.labels < 0).any() or files.labels.max() >= network.num_classes:
        note(f"teacher {name}: not checked, {files.path(0)} and the others are not labelled with its classes")
        return
    chosen = files.subset(sampler.evenly(images, len(files)))
    given = card.input
    loader = EvalLoader(
        chosen, size=given.size, resize=given.resize, batch=64, mean=given.mean, std=given.std, device=here.gpu,
        background=given.background,
    )  # fmt: skip
    with progress(loader.images, "teacher", quiet=quiet) as bar:
        top1 = evaluate(network, loader, here, bar.update)["top1"]
    gate(name, top1, card.top1, loader.images, 1.0, skip="--gate 0")


def probabilities(
    network: nn.Layer, card: Trained, engine: str, batch: int, here: Runtime
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images float32 [n, 3, size, size], normalised as the card says, to float32 [n, classes].

    `engine` as in `teacher.engine` of a recipe, but `auto`: what was scored before must not mix with another engine's
    bits. It is checked against the network as `EngineLogits` says.
    """
    given = card.input
    data = Data(train=("",), val="", size=given.size, mean=given.mean, std=given.std)
    logits = TeacherLogits(network, "running", data, given.size, given.mean, given.std)
    if engine == "eager":
        return lambda images: softmax(_eager(logits, images)).astype("float32")
    if here.gpu is not None:
        raise RunError(f"engine {engine} runs on a CPU; give --engine eager, or --device cpu")
    run = compiled(logits, engine, given.size, batch, cores()).run
    return lambda images: softmax(run(images)).astype("float32")


def _eager(logits: Any, images: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return logits(paddle.to_tensor(images)).numpy()


def weights_digest(file: Path) -> str:
    """sha256 of a weights file, or of the names and digests of the files of a folder of them."""
    if file.is_file():
        return sha256(file)
    held = sorted((str(found.relative_to(file)), sha256(found)) for found in file.rglob("*") if found.is_file())
    return hashlib.sha256(repr(held).encode()).hexdigest()
