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
from ssld.distill.step import (
    Step,
    Together,
    check_gradients,
    check_helpers,
    check_terms,
    shapes,
    shapes_in_views,
)
from ssld.distill.update import OneGradient, TwoGradients, Update
from ssld.errors import RecipeError, RunError
from ssld.interfaces import Curve, EveryScore, Labeller, Parameter, Scores, StageScores
from ssld.losses import About
from ssld.losses.base import Shape
from ssld.losses.objective import Objective
from ssld.losses.stages import is_open, of_stages
from ssld.losses.terms import Term, are_open, fitted, teacher_reads
from ssld.losses.views import split
from ssld.models.taps import no_layer, sublayer
from ssld.progress import Bar, note, progress
from ssld.quantize import recalibrate
from ssld.runtime import seed_networks, seed_of


class TrainState:
    """Hold everything that a stage changes while it trains; save and restore it.

    `network` is what the stage hands on. `peers` are the networks that train beside it, by name.
    """

    def __init__(
        self,
        job: Job,
        network: nn.Layer,
        labeller: Labeller | None = None,
        peers: Mapping[str, nn.Layer] | None = None,
    ):
        self.job, self.stage, self.network, self.peers = job, job.stage, network, dict(peers or {})
        self.steps = sampler.steps(job.stage.epochs, job.train.steps_per_epoch)
        self.eval_every = job.stage.eval_every * job.train.steps_per_epoch
        self.log_every = max(1, min(10, self.steps // 100))
        trained = [p for one in self.networks for p in set_trainable(one, job.stage.train)]
        self.abouts: dict[str, About] = {}  # maps the name of a term to what its layers were made for
        self.remarks: list[str] = []  # on the taps that were chosen
        self.step = self._step(network, labeller)
        self.steps_of_peers = {name: self._step(peer, labeller, name) for name, peer in self.peers.items()}
        all_steps = [self.step, *self.steps_of_peers.values()]
        if labeller:
            labeller.read(frozenset().union(*(step.objective.teacher_reads for step in all_steps)))
        begin_helpers(self.step.helpers, job.helpers, job.name)
        self.whole = Together(self.step, self.steps_of_peers) if self.peers else self.step
        trained += [p for step in all_steps for p in step.helpers.parameters() if not p.stop_gradient]
        self._trained = {id(parameter) for parameter in trained}
        self.ranks = parallel.Ranks(self.whole, trained, job.runtime, job.stage.sync_bn, self.step.apart)
        for one in self.networks:
            optim.scale_rates(job.stage.optim, one)
        self.optimizer = optim.make_optimizer(job.stage.optim, trained)
        self.average = optim.Average(network, job.stage.optim.ema)
        self.averages = {name: optim.Average(peer, job.stage.optim.ema) for name, peer in self.peers.items()}
        self.scaler = paddle.amp.GradScaler(enable=job.stage.optim.amp == "O1", init_loss_scaling=2.0**15)
        self.update: Update = (
            TwoGradients(self.optimizer, self.ranks)
            if isinstance(self.optimizer, Dot)
            else OneGradient(self.optimizer, self.ranks, self.scaler)
        )
        self.seconds, self.since, self.saved = 0.0, time.monotonic(), time.monotonic()
        self.curve: Curve | None = None  # tells what the stage had logged when its checkpoint was saved

    @property
    def networks(self) -> list[nn.Layer]:
        """Return the networks that the stage trains; the first one is what it hands on."""
        return [self.network, *self.peers.values()]

    def tell(self) -> None:
        """Say on standard error where taps were chosen otherwise than a method asks for."""
        for remark in self.remarks if self.job.runtime.main else ():
            note(f"stage {self.job.name}: {remark}")

    def _step(self, network: nn.Layer, labeller: Labeller | None, peer: str = "") -> Step:
        """Make the step of a network with the layers of its losses. `peer` is its name where it is one of the peers."""
        views = self.stage.data.views
        terms, remarks = fitted_to(self.stage.loss, network, labeller, self.stage.data.size)
        self.remarks += [f"{peer}: {remark}" if peer else remark for remark in remarks]
        objective = Objective(terms, self.job.train.steps_per_epoch, views)
        helpers = self._helpers(network, objective, labeller, peer)
        return Step(network, objective, helpers, self.stage.optim.algorithm in APART, views)

    def _helpers(
        self, network: nn.Layer, objective: Objective, labeller: Labeller | None, peer: str
    ) -> dict[str, nn.Layer]:
        """Make the layers of the losses that own any, with fresh weights that are the same on every rank."""
        job, size = self.job, self.stage.data.size
        if not objective.helped:
            return {}
        views = self.stage.data.views
        student = shapes_in_views(lambda names: shapes(network, names, size), objective.student_reads, views)
        teacher: Mapping[str, Shape] = {}
        shapes_of_each: Mapping[str, Mapping[str, Shape]] = {}
        if labeller:
            reads = objective.teacher_reads
            teacher = shapes_in_views(lambda names: labeller.shapes(names, size), reads, views)
            if any(loss.reads.each for loss in objective.helped.values()):
                shapes_of_each = labeller.shapes_of_each({split(name, views)[1] for name in reads}, size)
        micro = sampler.micro_size(self.stage.data.batch, self.stage.optim.accumulate, job.runtime.world)

        of_peer = (peer,) if peer else ()

        def about(name: str) -> About:
            seed_networks(job.seed, job.name, "helper", *of_peer, name)
            about_term = About(
                student=student, teacher=teacher, classes=job.classes, images=len(job.labels), labels=job.labels,
                steps=self.steps, steps_per_epoch=job.train.steps_per_epoch, micro=micro, world=job.runtime.world,
                seed=seed_of(job.seed, job.name, *of_peer, name), each=shapes_of_each,
            )  # fmt: skip
            return about_term if peer else self.abouts.setdefault(name, about_term)

        # The parameters of networks have names that begin with their architecture, or with the name of a peer.
        with paddle.utils.unique_name.guard(f"helper_{peer}_" if peer else "helper_"):
            helpers = objective.helpers(about)
        check_helpers(self.networks, helpers)
        return helpers

    def seed(self, step: int, part: int) -> None:
        """Seed dropout from the place of the micro-batch in the global batch.

        Two ranks then draw together what one rank draws in turn.
        """
        runtime = self.job.runtime
        seed_networks(self.job.seed, self.job.name, step, part * runtime.world + runtime.rank)

    def named_trained(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (key, parameter) of what the stage updates.

        The keys are the network's own, then `helpers.<term>.<key>`, then all those of a peer with `peers.<name>.`
        before them.
        """
        steps = {"": self.step, **{f"peers.{name}.": step for name, step in self.steps_of_peers.items()}}
        for prefix, step in steps.items():
            helpers = ((f"helpers.{name}", parameter) for name, parameter in step.helpers.named_parameters())
            for name, parameter in (*step.student.named_parameters(), *helpers):
                if id(parameter) in self._trained:
                    yield f"{prefix}{name}", parameter

    def check_first_step(self) -> None:
        """Check, after the first step, that every term and every trained parameter of every network had a gradient.

        Raises RunError for the first one that had none.
        """
        for step in (self.step, *self.steps_of_peers.values()):
            check_terms(step.objective, self.job.name)
        check_gradients(self.named_trained(), self.update.reached, self.job.name)

    def update_averages(self, step: int) -> None:
        """Add the weights of every network after a step to its average, where the recipe asks for averages."""
        self.average.update(self.network, step)
        for name, peer in self.peers.items():
            self.averages[name].update(peer, step)

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
            "peers": self._state_of_peers(),
            "averages": self._state_of_averages(),
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
            _assign(self._state_of_peers(), saved.tensors.get("peers", {}), self.job.folder)
            _assign(self._state_of_averages(), saved.tensors.get("averages", {}), self.job.folder)
            if saved.state["scaler"]:
                self.scaler.load_state_dict(
                    {k: np.asarray(v) if isinstance(v, list) else v for k, v in saved.state["scaler"].items()}
                )
            self.seconds, self.curve = saved.state["seconds"], saved.state.get("curve")
        return saved.step if saved else 0

    def _state_of_peers(self) -> dict[str, Tensor]:
        """Return the state of the peers, their helpers among it; its keys begin with the name of the peer."""
        states = {name: step.state_dict() for name, step in self.steps_of_peers.items()}
        return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}

    def _state_of_averages(self) -> dict[str, Tensor]:
        """Return the averaged weights of the peers; the keys begin with the name of the peer."""
        return {f"{name}.{key}": value for name, one in self.averages.items() for key, value in one.state.items()}

    def evaluate(self, step: int) -> EveryScore:
        """Evaluate on the validation images, with the averaged weights if there are any, and log the scores.

        What the log gets of a peer has its name before it, such as `second/top1`.
        """
        scores = self._scores(self.network, self.average)
        of_peers = {name: self._scores(peer, self.averages[name]) for name, peer in self.peers.items()}
        logged = _logged(scores)
        for name, of_peer in of_peers.items():
            logged |= {f"{name}/{key}": value for key, value in _logged(of_peer).items()}
        self.log("eval", step, logged)
        every: EveryScore = {"top1": scores["top1"], "top5": scores["top5"], "loss": scores["loss"]}
        if of_peers:
            every["peers"] = of_peers
        return every

    def _scores(self, network: nn.Layer, average: optim.Average) -> Scores:
        """Return the scores of one of the networks on the validation images, with its averaged weights if any."""
        weights = {key: value.clone() for key, value in network.state_dict().items()} if average.state else {}
        if weights:
            network.set_state_dict(average.state)
        assert self.job.val is not None, "a job that is evaluated has images for it"
        scores = evaluate(network, self.job.val, self.job.runtime)
        if weights:
            network.set_state_dict(weights)
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
        """Evaluate the networks after their last step, and hand on the averaged weights if there are any."""
        if len(self.job.norm_images):
            recalibrate(self.network, self.job.norm_images)
        scores = self.evaluate(self.steps)
        self.network.set_state_dict(self.average.weights(self.network))
        for name, peer in self.peers.items():
            peer.set_state_dict(self.averages[name].weights(peer))
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


def begin_helpers(layers: nn.LayerDict, given: Mapping[str, Mapping[str, Array]], stage: str) -> None:
    """Set the state of layers of losses, in place, to what an earlier stage made.

    `given` maps the path of a layer to its arrays. Raises RecipeError where there is no such layer, or it has other
    keys or shapes.
    """
    for path, arrays in given.items():
        layer = sublayer(layers, path)
        if layer is None:
            raise RecipeError(f"stages.{stage}.helpers.{path}: {no_layer(layers, path)}")
        state = layer.state_dict()
        wrong = [key for key in sorted({*state, *arrays}) if _shape(state, key) != _shape(arrays, key)]
        if wrong:
            shown = [str(_shape(of, wrong[0]) or "not there") for of in (arrays, state)]
            what = f"{wrong[0]!r} is {shown[0]} where it comes from, and {shown[1]} here"
            raise RecipeError(f"stages.{stage}.helpers.{path}: {what}; give both terms the same options")
        for key, tensor in state.items():
            tensor.set_value(arrays[key])


def _shape(state: Mapping[str, Tensor] | Mapping[str, Array], key: str) -> list[int] | None:
    return list(state[key].shape) if key in state else None


def fitted_to(
    terms: Mapping[str, Term], network: nn.Layer, labeller: Labeller | None, size: int
) -> tuple[dict[str, Term], list[str]]:
    """Return the terms with the taps of a network and its teacher that fit each other, where they leave them open.

    The remarks beside them say what was chosen otherwise than a method asks for. Images have `size` pixels a side. A
    network without a stage is asked for the first one, and says what is missing.
    """
    if not are_open(terms.values()):
        return dict(terms), []
    student = shapes(network, of_stages(models.taps_of(network)) or {"stage1"}, size)
    teacher: Mapping[str, Shape] = {}
    if labeller and is_open(teacher_reads(terms.values())):
        teacher = labeller.shapes(of_stages(labeller.gives) or {"stage1"}, size)
    return fitted(terms, student, teacher)


def _logged(scores: Scores) -> dict[str, float]:
    """Return the scores of an evaluation that the log gets."""
    return {"top1": scores["top1"], "top5": scores["top5"], "loss": scores["loss"]}


def set_trainable(network: nn.Layer, train: str) -> list[Parameter]:
    """Return the parameters that a stage updates; the others get no gradient.

    'all' updates whatever the logits depend on, 'helpers' nothing of the network. 'head' updates only the classifier,
    which makes the logits, as SSLD's Fix models were made. 'head_and_norms' updates the scales, shifts and statistics
    of the batch norms too, as FixRes proposes (arXiv:1906.06423). Paddle lists running statistics among the parameters,
    without a gradient; they stay without one. Raises RunError for a network that does not say which layer its
    classifier is.
    """
    layers_to_train = {"all": [network], "helpers": []}.get(train) or []
    if train in ("head", "head_and_norms"):
        layers_to_train = [_classifier(network, train)]
    layers_to_train += [
        layer for layer in network.sublayers() if train == "head_and_norms" and isinstance(layer, models.BATCH_NORMS)
    ]
    left = [*network.auxiliary, *network.frozen] if isinstance(network, models.Classifier) else []
    unused = {id(p) for layer in left for p in layer.parameters()}
    updated = {id(p) for layer in layers_to_train for p in layer.parameters() if p.trainable} - unused
    for parameter in network.parameters():
        parameter.stop_gradient = id(parameter) not in updated
    return [p for p in network.parameters() if id(p) in updated]


def set_mode(network: nn.Layer, train: str) -> None:
    """Set training mode, or evaluation mode where the body is frozen, and for layers that are never trained.

    In evaluation mode the statistics stay, and training sees what inference sees.
    """
    network.eval() if train in ("head", "helpers") else network.train()
    for layer in network.frozen if isinstance(network, models.Classifier) else ():
        layer.eval()


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
