"""Hold what a stage changes while it trains; save and restore it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import paddle
from paddle import Tensor, nn

from ssld import models
from ssld.config.optim import APART
from ssld.data import sampler
from ssld.distill import checkpoint, optim, parallel
from ssld.distill.arrays import Array
from ssld.distill.dot import Dot
from ssld.distill.evaluate import evaluate
from ssld.distill.job import Job
from ssld.distill.step import Step, check_helpers, shapes, shapes_in_views
from ssld.distill.update import OneGradient, TwoGradients, Update
from ssld.errors import RunError
from ssld.interfaces import Curve, Labeller, Parameter, Scores, StageScores
from ssld.losses import About
from ssld.losses.base import Shape
from ssld.losses.objective import Objective
from ssld.losses.views import split
from ssld.progress import Bar, progress
from ssld.quantize import recalibrate
from ssld.runtime import seed_networks, seed_of


class TrainState:
    """Hold everything that a stage changes while it trains; save and restore it."""

    def __init__(self, job: Job, network: nn.Layer, labeller: Labeller | None = None):
        self.job, self.stage, self.network = job, job.stage, network
        self.steps = sampler.steps(job.stage.epochs, job.train.steps_per_epoch)
        self.eval_every = job.stage.eval_every * job.train.steps_per_epoch
        self.log_every = max(1, min(10, self.steps // 100))
        trained = set_trainable(network, job.stage.train)
        views = job.stage.data.views
        self.objective = Objective(job.stage.loss, job.train.steps_per_epoch, views)
        self.abouts: dict[str, About] = {}  # maps the name of a term to what its layers were made for
        separate = job.stage.optim.algorithm in APART
        self.step = Step(network, self.objective, self._helpers(labeller), separate, views)
        trained += [p for p in self.step.helpers.parameters() if not p.stop_gradient]
        self._trained = {id(parameter) for parameter in trained}
        self.ranks = parallel.Ranks(self.step, trained, job.runtime, job.stage.sync_bn, separate)
        optim.scale_rates(job.stage.optim, network)
        self.optimizer = optim.make_optimizer(job.stage.optim, trained)
        self.average = optim.Average(network, job.stage.optim.ema)
        self.scaler = paddle.amp.GradScaler(enable=job.stage.optim.amp == "O1", init_loss_scaling=2.0**15)
        self.update: Update = (
            TwoGradients(self.optimizer, self.ranks)
            if isinstance(self.optimizer, Dot)
            else OneGradient(self.optimizer, self.ranks, self.scaler)
        )
        self.seconds, self.since, self.saved = 0.0, time.monotonic(), time.monotonic()
        self.curve: Curve | None = None  # tells what the stage had logged when its checkpoint was saved

    def _helpers(self, labeller: Labeller | None) -> dict[str, nn.Layer]:
        """Make the layers of the losses that own any, with fresh weights that are the same on every rank."""
        job, size = self.job, self.stage.data.size
        if not self.objective.helped:
            return {}
        views = self.stage.data.views
        student = shapes_in_views(lambda names: shapes(self.network, names, size), self.objective.student_reads, views)
        teacher: Mapping[str, Shape] = {}
        shapes_of_each: Mapping[str, Mapping[str, Shape]] = {}
        if labeller:
            reads = self.objective.teacher_reads
            teacher = shapes_in_views(lambda names: labeller.shapes(names, size), reads, views)
            if any(loss.reads.each for loss in self.objective.helped.values()):
                shapes_of_each = labeller.shapes_of_each({split(name, views)[1] for name in reads}, size)
        micro = sampler.micro_size(self.stage.data.batch, self.stage.optim.accumulate, job.runtime.world)

        def about(name: str) -> About:
            seed_networks(job.seed, job.name, "helper", name)
            self.abouts[name] = About(
                student=student, teacher=teacher, classes=job.classes, images=len(job.labels), labels=job.labels,
                steps=self.steps, steps_per_epoch=job.train.steps_per_epoch, micro=micro, world=job.runtime.world,
                seed=seed_of(job.seed, job.name, name), each=shapes_of_each,
            )  # fmt: skip
            return self.abouts[name]

        with paddle.utils.unique_name.guard(
            "helper_"
        ):  # the parameters of networks have names that begin with their architecture
            helpers = self.objective.helpers(about)
        check_helpers(self.network, helpers)
        return helpers

    def seed(self, step: int, part: int) -> None:
        """Seed dropout from the place of the micro-batch in the global batch.

        Two ranks then draw together what one rank draws in turn.
        """
        runtime = self.job.runtime
        seed_networks(self.job.seed, self.job.name, step, part * runtime.world + runtime.rank)

    def named_trained(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (key, parameter) of what the stage updates: the network's own keys, then `helpers.<term>.<key>`."""
        helpers = ((f"helpers.{name}", parameter) for name, parameter in self.step.helpers.named_parameters())
        parameters = [*self.network.named_parameters(), *helpers]
        return ((name, parameter) for name, parameter in parameters if id(parameter) in self._trained)

    def precision(self) -> AbstractContextManager[object]:
        """Return the context of a forward pass, in which mixed precision is on where the recipe asks for it."""
        mixed: AbstractContextManager[object] = paddle.amp.auto_cast(enable=self.stage.optim.amp == "O1", level="O1")
        return mixed

    def bar(self, start: int) -> Bar:
        """Return the progress bar of the stage, which counts images."""
        batch = self.stage.data.batch
        return progress(self.steps * batch, self.job.name, start=start * batch, quiet=not self.job.runtime.main)

    def checkpoint_due(self) -> bool:
        """Return whether the time for the next checkpoint has come."""
        return self.job.runtime.main and time.monotonic() - self.saved > 60 * self.stage.checkpoint_minutes

    def save(self, step: int) -> None:
        """Save a checkpoint after `step` finished steps. Only rank 0 saves."""
        if not self.job.runtime.main:
            return
        tensors = {
            "model": self.network.state_dict(),
            "optimizer": _tensors(self.optimizer.state_dict()),
            "average": self.average.state,
            "helpers": self.step.helpers.state_dict(),
        }
        scaler = self.scaler.state_dict() if self.stage.optim.amp == "O1" else {}
        assert self.job.track is not None, "a job that is run keeps its numbers"
        state: checkpoint.State = {
            "seconds": self._elapsed(),
            "scaler": {key: value.tolist() if hasattr(value, "tolist") else value for key, value in scaler.items()},
            "stage": self.job.digest,
            "curve": self.job.track.curve(self.job.name),
        }
        checkpoint.save(self.job.folder, step, {k: _arrays(v) for k, v in tensors.items() if v}, state)
        self.saved = time.monotonic()

    def restore(self) -> int:
        """Take over the newest whole checkpoint, and return the step to go on from.

        The modes of layers do not change. `curve` is then what the stage had logged at that step.
        """
        saved = checkpoint.load(self.job.folder, self.job.digest)
        if saved is not None:
            _assign(self.network.state_dict(), saved.tensors["model"], self.job.folder)
            self.optimizer.set_state_dict(
                {k: paddle.to_tensor(v) for k, v in saved.tensors.get("optimizer", {}).items()}
            )
            _assign(self.average.state, saved.tensors.get("average", {}), self.job.folder)
            _assign(self.step.helpers.state_dict(), saved.tensors.get("helpers", {}), self.job.folder)
            if saved.state["scaler"]:
                self.scaler.load_state_dict(
                    {k: np.asarray(v) if isinstance(v, list) else v for k, v in saved.state["scaler"].items()}
                )
            self.seconds, self.curve = saved.state["seconds"], saved.state.get("curve")
        return saved.step if saved else 0

    def evaluate(self, step: int) -> Scores:
        """Evaluate on the validation images, with the averaged weights if there are any, and log the scores."""
        weights = {key: value.clone() for key, value in self.network.state_dict().items()} if self.average.state else {}
        if weights:
            self.network.set_state_dict(self.average.state)
        assert self.job.val is not None, "a job that is evaluated has images for it"
        scores = evaluate(self.network, self.job.val, self.job.runtime)
        if weights:
            self.network.set_state_dict(weights)
        self.log("eval", step, {"top1": scores["top1"], "top5": scores["top5"], "loss": scores["loss"]})
        return scores

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Write one line of metrics.jsonl. `kind` is train or eval, and `step` counts the finished steps."""
        assert self.job.track is not None, "a job that is run keeps its numbers"
        position = {
            "step": step,
            "epoch": step / self.job.train.steps_per_epoch,
            "images": step * self.stage.data.batch,
        }
        self.job.track.log({"kind": kind, "stage": self.job.name, **position, **values})

    def finish(self) -> StageScores:
        """Evaluate the network after its last step, and hand on the averaged weights if there are any."""
        if len(self.job.norm_images):
            recalibrate(self.network, self.job.norm_images)
        scores = self.evaluate(self.steps)
        self.network.set_state_dict(self.average.weights(self.network))
        images = self.steps * self.stage.data.batch
        return {
            **scores,
            "epochs": self.stage.epochs,
            "steps": self.steps,
            "images": images,
            "seconds": self._elapsed(),
        }

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since


def set_trainable(network: nn.Layer, train: str) -> list[Parameter]:
    """Return the parameters that a stage updates; the others get no gradient.

    'all' updates whatever the logits depend on. 'head' updates only the classifier, which makes the logits, as SSLD's
    Fix models were made. 'head_and_norms' updates the scales, shifts and statistics of the batch norms too, as FixRes
    proposes (arXiv:1906.06423). Paddle lists running statistics among the parameters, without a gradient; they stay
    without one. Raises RunError for a network that does not say which layer its classifier is.
    """
    layers_to_train = [network] if train == "all" else [_classifier(network, train)]
    layers_to_train += [
        layer for layer in network.sublayers() if train == "head_and_norms" and isinstance(layer, models.BATCH_NORMS)
    ]
    auxiliary = network.auxiliary if isinstance(network, models.Classifier) else []
    unused = {id(p) for layer in auxiliary for p in layer.parameters()}
    updated = {id(p) for layer in layers_to_train for p in layer.parameters() if p.trainable} - unused
    for parameter in network.parameters():
        parameter.stop_gradient = id(parameter) not in updated
    return [p for p in network.parameters() if id(p) in updated]


def set_mode(network: nn.Layer, train: str) -> None:
    """Set training mode, or evaluation mode where the body is frozen.

    In evaluation mode the statistics stay, and training sees what inference sees.
    """
    network.eval() if train == "head" else network.train()


def _classifier(network: nn.Layer, train: str) -> nn.Layer:
    layer = models.classifier_of(network)
    if layer is None:
        what = f"{type(network).__name__} does not say which layer makes its logits"
        advice = "name it with taps: {classifier: PATH}, give it an attribute `classifier`, or set train: all"
        raise RunError(f"train: {train}: {what}; {advice}")
    return layer


def _tensors(state: Mapping[str, object]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _arrays(state: Mapping[str, Tensor]) -> dict[str, Array]:
    return {key: value.numpy() for key, value in state.items()}


def _assign(state: Mapping[str, Tensor], arrays: dict[str, Array], folder: Path) -> None:
    if state.keys() != arrays.keys():
        raise RunError(f"{folder}: its checkpoint is of another network; use another --out, or remove the folder")
    for key, tensor in state.items():
        tensor.set_value(arrays[key])
