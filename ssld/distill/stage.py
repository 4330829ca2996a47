"""One stage of a plan: a network in, a better network out. This is the whole training loop."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ssld.config.recipe import Stage
from ssld.distill import checkpoint, optim, parallel
from ssld.distill.evaluate import evaluate
from ssld.errors import RunError
from ssld.progress import progress
from ssld.runtime import Runtime, seed_networks, sum_over_ranks


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a stage works with, beside its networks."""

    name: str
    stage: Stage
    folder: Path
    seed: int
    runtime: Runtime
    track: Any
    train: Any  # data.Loader
    val: Any  # data.EvalLoader


def run_stage(job: Job, network: nn.Layer, teacher: Any, objective: Any) -> dict[str, float]:
    """Train `network` in place, from the newest checkpoint of `job.folder` if there is one; returns its final scores.

    Step s is a function of the state after step s-1 and of (seed, stage, s) alone: sample order, augmentation, dropout and learning
    rate are closed forms of the step, so a resumed run ends with the same weights bit for bit. Raises RunError for a loss that is not
    finite; KeyboardInterrupt, after saving a checkpoint, for Ctrl-C or SIGTERM.
    """
    state = TrainState(job, network)
    start = state.restore()
    job.track.rewind(job.name, start)
    batches = job.train.batches(start, state.steps)
    pending: list[Any] = []  # losses not yet checked: reading one waits for the device
    with state.bar(start) as bar, stop_signals() as stop:
        for step in range(start, state.steps):
            seed_networks(job.seed, job.name, step, job.runtime.rank)
            state.optimizer.set_lr(optim.learning_rate(job.stage.optim, step, state.steps, job.train.steps_per_epoch))
            metrics, batch = train_step(state, teacher, objective, batches)
            state.average.update(network, step)
            pending.append(metrics["loss"])
            done = step + 1
            logged = done % state.log_every == 0 or done == state.steps
            if logged:
                check_finite(pending, done, job)
                values = {**read(metrics, batch), "lr": state.optimizer.get_lr(), "images_per_second": bar.rate()}
                job.track.log({"kind": "train", "stage": job.name, "step": done, "epoch": done / job.train.steps_per_epoch, **values})
                bar.update(done * job.stage.data.batch, **values)
            if stop.here_and_everywhere(job.runtime, logged):
                check_finite(pending, done, job)
                state.save(done)
                raise KeyboardInterrupt
            if done % state.eval_every == 0 and done < state.steps:
                check_finite(pending, done, job)
                state.evaluate(done)
                bar.update(done * job.stage.data.batch, **state.last_scores)
            if state.checkpoint_due() and job.runtime.main:
                check_finite(pending, done, job)
                state.save(done)
    return state.finish()


def train_step(state: "TrainState", teacher: Any, objective: Any, batches: Iterator[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One update of the weights from `accumulate` micro-batches; returns the last one's loss, its parts and its batch."""
    parts_of_step = state.stage.optim.accumulate
    for part in range(parts_of_step):
        batch = next(batches)
        with parallel.hold_gradients(state.forward, more_follow=part + 1 < parts_of_step), state.precision():
            labels = teacher(batch["image"]) if objective.needs_teacher else None
            logits = state.forward(batch["image"])
            loss, parts = objective(logits, labels, batch)
            state.scaler.scale(loss / parts_of_step).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.clear_grad()
    return {"loss": loss.detach(), **parts, "logits": logits.detach()}, batch


class TrainState:
    """Everything a stage changes while it trains, and how it is saved and restored."""

    def __init__(self, job: Job, network: nn.Layer):
        self.job, self.stage, self.network = job, job.stage, network
        self.steps = max(1, round(job.stage.epochs * job.train.steps_per_epoch))
        self.eval_every = job.stage.eval_every * job.train.steps_per_epoch
        self.log_every = max(1, min(10, self.steps // 100))
        trained = set_trainable(network, job.stage.train)
        self.forward = parallel.wrap(network, job.runtime, job.stage.sync_bn)
        self.optimizer = optim.make_optimizer(job.stage.optim, trained)
        self.average = optim.Average(network, job.stage.optim.ema)
        self.scaler = paddle.amp.GradScaler(enable=job.stage.optim.amp == "O1", init_loss_scaling=2.0**15)
        self.seconds, self.since, self.saved = 0.0, time.monotonic(), time.monotonic()
        self.last_scores: dict[str, float] = {}

    def precision(self) -> Any:
        return paddle.amp.auto_cast(enable=self.stage.optim.amp == "O1", level="O1")

    def bar(self, start: int) -> Any:
        batch = self.stage.data.batch
        return progress(self.steps * batch, self.job.name, start=start * batch, quiet=not self.job.runtime.main)

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self.saved > 60 * self.stage.checkpoint_minutes

    def save(self, step: int) -> None:
        if not self.job.runtime.main:
            return
        tensors = {"model": self.network.state_dict(), "optimizer": _tensors(self.optimizer.state_dict()), "average": self.average.state}
        state = {"seconds": self._elapsed(), "scaler": self.scaler.state_dict() if self.stage.optim.amp == "O1" else {}}
        checkpoint.save(self.job.folder, step, {k: _arrays(v) for k, v in tensors.items() if v}, _plain(state))
        self.saved = time.monotonic()

    def restore(self) -> int:
        """Take over the newest whole checkpoint; returns the step to go on from."""
        found = checkpoint.load(self.job.folder)
        if found is not None:
            _assign(self.network.state_dict(), found.tensors["model"], self.job.folder)
            self.optimizer.set_state_dict({k: paddle.to_tensor(v) for k, v in found.tensors.get("optimizer", {}).items()})
            _assign(self.average.state, found.tensors.get("average", {}), self.job.folder)
            if found.state["scaler"]:
                self.scaler.load_state_dict({k: np.asarray(v) if isinstance(v, list) else v for k, v in found.state["scaler"].items()})
            self.seconds = found.state["seconds"]
        set_mode(self.network, self.stage.train)
        return found.step if found else 0

    def evaluate(self, step: int) -> dict[str, float]:
        """Scores on the validation images, of the averaged weights if there are any; logged."""
        kept = {key: value.clone() for key, value in self.network.state_dict().items()} if self.average.state else {}
        if kept:
            self.network.set_state_dict(self.average.state)
        self.last_scores = evaluate(self.network, self.job.val, self.job.runtime)
        if kept:
            self.network.set_state_dict(kept)
        set_mode(self.network, self.stage.train)
        epoch = step / self.job.train.steps_per_epoch
        self.job.track.log({"kind": "eval", "stage": self.job.name, "step": step, "epoch": epoch, **self.last_scores})
        return self.last_scores

    def finish(self) -> dict[str, float]:
        """Hand on the averaged weights if there are any, evaluate, keep one last checkpoint."""
        self.save(self.steps)
        scores = self.evaluate(self.steps)
        self.network.set_state_dict(self.average.weights(self.network))
        for parameter in self.network.parameters():
            parameter.stop_gradient = False
        images = self.steps * self.stage.data.batch
        return {**scores, "epochs": self.stage.epochs, "steps": self.steps, "images": images, "seconds": self._elapsed()}

    def _elapsed(self) -> float:
        return self.seconds + time.monotonic() - self.since


def set_trainable(network: nn.Layer, train: str) -> list[Any]:
    """The parameters that a stage updates; the others get no gradient.

    'all', or 'head': only the last layer, which makes the class scores (FixRes, arXiv:1906.06423, as SSLD used it). Paddle lists
    running statistics among the parameters, as ones without a gradient: they stay so.
    """
    head = [layer for layer in network.sublayers() if isinstance(layer, (nn.Linear, nn.Conv2D))][-1]
    free = {id(p) for p in (head if train == "head" else network).parameters() if p.trainable}
    for parameter in network.parameters():
        parameter.stop_gradient = id(parameter) not in free
    return [p for p in network.parameters() if id(p) in free]


def set_mode(network: nn.Layer, train: str) -> None:
    """Training mode; with a frozen body evaluation mode, so that its statistics stay and training sees what inference sees."""
    network.eval() if train == "head" else network.train()


def check_finite(losses: list[Any], done: int, job: Job) -> None:
    """Raise RunError, naming the step, when a loss since the last check was NaN or infinite; empties the list."""
    first = done - len(losses) + 1
    for step, loss in enumerate((float(loss) for loss in losses), first):
        if not math.isfinite(loss):
            found = checkpoint.load(job.folder)
            good = f"the last good checkpoint is of step {found.step}" if found else "there is no checkpoint yet"
            raise RunError(f"stage {job.name}: the loss became {loss} at step {step}; {good}; lower optim.lr or set optim.clip_norm")
    losses.clear()


def read(metrics: dict[str, Any], batch: dict[str, Any]) -> dict[str, float]:
    """The metrics as numbers, with top-1 (percent) on the labelled images of the batch where no images were mixed."""
    values = {name: float(value) for name, value in metrics.items() if name != "logits"}
    labels = batch["label"].numpy()
    if (labels >= 0).any() and "lam" not in batch:
        right = metrics["logits"].numpy().argmax(1) == labels
        values["top1"] = 100 * float(right[labels >= 0].mean())
    return values


class Stop:
    """Whether SIGINT or SIGTERM came. All ranks answer alike, at logged steps, so that none waits for one that has left."""

    asked = False

    def here_and_everywhere(self, runtime: Runtime, logged: bool) -> bool:
        if runtime.world == 1:
            return self.asked
        return logged and bool(sum_over_ranks(np.array([float(self.asked)]), runtime)[0])


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """The first signal asks to stop at the next logged step, a second one stops at once."""
    stop = Stop()

    def ask(number: int, frame: Any) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}  # main thread only
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if isinstance(value, paddle.Tensor)}


def _arrays(state: dict[str, Any]) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in state.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _assign(state: dict[str, Any], arrays: dict[str, np.ndarray], folder: Path) -> None:
    if state.keys() != arrays.keys():
        raise RunError(f"{folder}: its checkpoint is of another network; use another --out, or remove the folder")
    for key, tensor in state.items():
        tensor.set_value(arrays[key])
