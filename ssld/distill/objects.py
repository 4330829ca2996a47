"""Train a student whose networks and images are Python objects that no recipe names, as `ssld.distill` does.

Such a training is one stage of a run: its checks, loaders, losses, loop, checkpoints and scores are those of a recipe's
stage. Objects have no digest of a recipe. The folder of a training therefore keeps in `made_of.json` the arguments and
the digests of the images, of the networks and of the losses, and a training goes on only with the same ones.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddle import nn

from ssld import models, weights
from ssld.config.foreign import AccuracyCheck
from ssld.config.keys import digested
from ssld.config.recipe import Data, Stage
from ssld.config.run_folder import METRICS
from ssld.config.teachers import Combine
from ssld.config.views import check_named_views
from ssld.data import ImageSource, sampler
from ssld.distill.arrays import Floats, Numbers
from ssld.distill.checkpoint import NAMES, disk_errors, write_json
from ssld.distill.code_digests import code_digest, is_ours
from ssld.distill.evaluate import predict
from ssld.distill.images import centre_crops, check_images, check_precision, random_crops
from ssld.distill.job import Job
from ssld.distill.networks import check_crop
from ssld.distill.optim import check_stages
from ssld.distill.reuse import MADE_OF, PACKAGES, Parts, changes, source_digest
from ssld.distill.runs import MODEL, RECORD, damage
from ssld.distill.stage import run_stage
from ssld.distill.teacher_weights import save_trained, weights_digest
from ssld.distill.teachers import SeveralTeachers, Teacher, pass_check
from ssld.errors import RecipeError, RunError
from ssld.files import alone, clear, is_empty, json_digest, read_json, sha256
from ssld.interfaces import Labeller, Record, StageScores
from ssld.losses import Loss
from ssld.losses.views import split
from ssld.models.taps import called
from ssld.progress import note
from ssld.runtime import Runtime, seed_of, versions
from ssld.track.jsonl import Jsonl
from ssld.track.track import Track

NAME = "distill"  # name of the stage in its records and in the seeds of its random numbers


@dataclass(frozen=True, kw_only=True)
class Training:
    """Describe one stage over objects.

    `student` is the network that is trained, in place. `teachers` are given by name; there are none where no loss
    learns from a teacher. `gate` says how many labelled validation images check each teacher before the first step, 0
    for no check.
    """

    student: nn.Layer
    teachers: Mapping[str, Teacher]
    combine: Combine
    settings: Stage
    train: ImageSource
    val: ImageSource
    classes: int
    seed: int
    gate: int
    runtime: Runtime


@dataclass(frozen=True)
class _Taught:
    """Show a stage to its teachers."""

    settings: Stage
    runtime: Runtime
    folder: Path


def student_copy(network: nn.Layer, size: int) -> nn.Layer:
    """Copy a network that is to be trained on images of `size` pixels a side. The given network stays as it is.

    The names of the copy's parameters follow from their keys, so that any process finds the state of the optimiser
    again. Raises RecipeError, as `models.create_own` does, for a network that cannot be trained, and for one that
    cannot be copied.
    """
    try:
        student = copy.deepcopy(network)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise RecipeError(f"student: copy.deepcopy fails ({reason}); correct its code") from error
    for key, parameter in student.named_parameters():
        parameter.name = f"student.{key}"
    classes = models.classes_of(student, "student", size)
    if not isinstance(student, models.Classifier):
        in_size = getattr(student, "in_size", size)
        models.adopt(student, "student", arch=type(student).__name__, num_classes=classes, in_size=in_size)
    return student


def train_in(training: Training, folder: Path | None) -> tuple[StageScores, list[Record]]:
    """Train the student in place, and return its scores and the log, one record for each line of `metrics.jsonl`.

    `folder` is where checkpoints, metrics and the result are kept. A stopped training goes on there. A finished
    training is not repeated: the student gets its weights. Without a folder nothing is kept. Raises RunError where the
    folder holds something else, or a training with other arguments, images, networks or losses. Raises RecipeError,
    DataError or RunError for what cannot be trained.
    """
    check(training)
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="ssld-distill-") as scratch:
            return _train(training, Path(scratch), ""), _history(Path(scratch))
    parts = made_of(training)
    with _claimed(folder, parts):
        if (folder / RECORD).is_file():
            note(f"{folder}: already finished")
            return _finished(training, folder), _history(folder)
        scores = _train(training, folder, json_digest(parts))
        with disk_errors(folder):
            save_trained(training.student, folder / MODEL, training.settings.data, json_digest(parts))
        record = {"digest": json_digest(parts), "sha256": sha256(folder / MODEL), "scores": scores}
        record["curve"] = Jsonl(folder / METRICS).curve(NAME)
        write_json(folder / RECORD, record)
        return scores, _history(folder)


def check(training: Training) -> None:
    """Check, before the first step, that a training can be run. Raises RecipeError, DataError or RunError otherwise."""
    settings = training.settings
    check_precision(settings, training.runtime, NAME)
    check_images(settings, training.train, training.val, training.runtime)
    check_crop(training.student, settings.data, NAME)
    if settings.optim.stage_lr:
        check_stages(settings.optim, training.student, NAME)
    if settings.is_taught and not training.teachers:
        names = ", ".join(name for name, term in settings.loss.items() if term.reads.teacher)
        raise RecipeError(f"loss: {names} learns from a teacher; give one, or another loss")
    if training.teachers and not settings.is_taught:
        raise RecipeError("teacher: no loss learns from it; give teacher=None, or a loss that does, such as ssld")
    for name, teacher in training.teachers.items():
        classes = models.classes_of(teacher.network, name, teacher.look.crop)
        if classes != training.classes:
            what = f"gives logits of {classes} classes, the student of {training.classes}"
            raise RecipeError(f"{name}: {what}; give a network of the same classes in the same order")
    if isinstance(training.student, models.Classifier):
        check_named_views(settings, NAME)
    taps = sorted({split(name, settings.data.views)[1] for name in settings.teacher_reads} - {"logits"})
    reads_each = any(term.loss.reads.each for term in settings.loss.values())
    if taps and len(training.teachers) > 1 and not reads_each:
        what = f"reads {taps[0]!r} of the teacher, and several teachers have only their logits in common"
        raise RecipeError(f"loss: {what}; give one teacher")


def made_of(training: Training) -> Parts:
    """Return what a training is made of: its arguments, and the digests of its images, networks and losses."""
    parts: Parts = {"seed": str(training.seed)}
    settings = digested(training.settings)
    parts |= {path: json.dumps(value) for path, value in _leaves(settings)}
    parts |= {"training images": training.train.digest(), "validation images": training.val.digest()}
    parts |= {"student": network_digest(training.student)}
    for name, teacher in training.teachers.items():
        parts[name] = network_digest(teacher.network)
        parts[f"images for {name}"] = json_digest([teacher.norm, digested(teacher.look)])
    if len(training.teachers) > 1:
        parts["combine"] = json_digest(digested(training.combine))
    parts |= {f"code of loss {name}": loss_digest(type(term.loss)) for name, term in training.settings.loss.items()}
    installed = versions()
    return parts | {f"version of {package}": str(installed[package]) for package in PACKAGES if installed.get(package)}


def network_digest(network: nn.Layer) -> str:
    """Return the sha256 over the weights of a network and the code of those of its layers that are one's own."""
    classes = {type(layer) for layer in network.sublayers(include_self=True)}
    code = sorted((cls.__qualname__, code_digest(cls)) for cls in classes if not is_ours(cls))
    return json_digest([weights_digest(network), called(network), code])


def loss_digest(cls: type[Loss]) -> str:
    """Return the digest of the source of a loss of this library, or of the code of a loss of one's own."""
    return source_digest(cls) if is_ours(cls) else code_digest(cls)


def _leaves(tree: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield (key path, value) for every leaf of a tree. An empty mapping is a leaf."""
    if isinstance(tree, dict) and tree:
        for name, value in tree.items():
            yield from _leaves(value, f"{path}.{name}".lstrip("."))
    else:
        yield path, tree


@contextmanager
def _claimed(folder: Path, parts: Parts) -> Iterator[None]:
    """Reserve the folder of a training for this process, and record there what the training is made of.

    Another training that has saved no step is no hindrance. Raises RunError as `train_in` says.
    """
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as lock:
        try:
            lock.enter_context(alone(folder, 0))
        except BlockingIOError:
            raise RunError(f"{folder}: another process is at work in it; let it end, or give another folder") from None
        clear(folder)
        advice = "remove the folder, and the training is repeated"
        recorded = read_json(folder / MADE_OF, advice) if (folder / MADE_OF).exists() else None
        if recorded is None and not is_empty(folder):
            raise RunError(f"{folder}: is not empty and holds no training; give another folder")
        reason = None if recorded is None else changes(recorded, parts)
        has_begun = any(folder.glob(NAMES)) or (folder / RECORD).is_file()
        if reason and has_begun:
            raise RunError(f"{folder}: holds another training: {reason}; give what it began with, or another folder")
        if not has_begun:
            write_json(folder / MADE_OF, parts)
        yield


def _finished(training: Training, folder: Path) -> StageScores:
    if reason := damage(folder):
        raise RunError(f"{folder}: {reason}; remove the folder, and the training is repeated")
    weights.load_into(training.student, folder / MODEL)
    record = read_json(folder / RECORD, "remove the folder, and the training is repeated")
    if record.get("curve") not in (None, Jsonl(folder / METRICS).curve(NAME)):
        note(f"{folder / METRICS}: is not what the training logged; its history is not whole")
    scores: StageScores = record["scores"]
    return scores


def _train(training: Training, folder: Path, digest: str) -> StageScores:
    settings, runtime = training.settings, training.runtime
    with untouched(teacher.network for teacher in training.teachers.values()):
        labeller = _labeller(training, _Taught(settings, runtime, folder))
        crops = random_crops(settings, training.train, runtime, settings.optim.accumulate, seed_of(training.seed, NAME))
        job = Job(
            name=NAME,
            stage=settings,
            folder=folder,
            seed=training.seed,
            runtime=runtime,
            track=Track(Jsonl(folder / METRICS)),
            train=crops,
            val=centre_crops(settings.data, training.val, runtime),
            classes=training.classes,
            labels=training.train.labels,
            digest=digest,
        )
        return run_stage(job, training.student, labeller)


def _labeller(training: Training, stage: _Taught) -> Labeller | None:
    """Return the labeller of the batches, after its teachers were measured on the validation images.

    It is None where no loss learns from a teacher.
    """
    if not training.teachers:
        return None
    check = AccuracyCheck(images=training.gate)
    for name, teacher in training.teachers.items() if training.gate else ():
        images = training.val.subset(sampler.evenly(training.gate, len(training.val)))
        loader = centre_crops(teacher.look, images, training.runtime)
        pass_check(name, teacher.network, loader, training.classes, check, "gate=0")
    reads_each = any(term.loss.reads.each for term in training.settings.loss.values())
    if len(training.teachers) == 1 and not reads_each:
        return next(iter(training.teachers.values())).on(stage)
    return SeveralTeachers(dict(training.teachers), training.combine).on(stage)


@contextmanager
def untouched(networks: Iterable[nn.Layer]) -> Iterator[None]:
    """Restore, after the block, the modes, the momenta of batch norms and the trainable parameters of each network."""
    originals = list(networks)
    parameters = [(parameter, parameter.stop_gradient) for network in originals for parameter in network.parameters()]
    layers = [layer for network in originals for layer in network.sublayers(include_self=True)]
    momenta = [(layer, layer._momentum) for layer in layers if isinstance(layer, models.BATCH_NORMS)]
    with ExitStack() as modes:
        for network in originals:
            modes.enter_context(models.evaluating(network))
        try:
            yield
        finally:
            for parameter, stop in parameters:
                parameter.stop_gradient = stop
            for layer, momentum in momenta:
                layer._momentum = momentum


def _history(folder: Path) -> list[Record]:
    return [record for _, record in Jsonl(folder / METRICS).records()]


def logits_of(network: nn.Layer, data: Data, images: ImageSource, runtime: Runtime) -> tuple[Floats, Numbers]:
    """Return logits float32 [n, classes] and labels int64 [n] of images, shown to the network as `data` says."""
    logits, labels = predict(network, centre_crops(data, images, runtime))
    return logits, labels
