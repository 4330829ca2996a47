"""One stage of a plan: a network in, a better network out. This is the whole training loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ssld.config.recipe import Stage
from ssld.distill import checkpoint, optim
from ssld.distill.state import TrainState
from ssld.distill.stop import stop_signals
from ssld.errors import RunError
from ssld.runtime import Runtime, barrier


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
    norm_images: Any = ()  # batches float32 [n, 3, S, S] that give batch norms their statistics after the last step


def run_stage(job: Job, network: nn.Layer, teacher: Any, objective: Any) -> dict[str, float]:
    """Train `network` in place, from the newest checkpoint of `job.folder` if there is one; returns its final scores.

    `teacher` labels the batches, None where no loss learns from one.

    Step s is a function of the state after step s-1 and of (seed, stage, s) alone: sample order, augmentation, dropout
    and learning rate are closed forms of the step, so a resumed run ends with the same weights bit for bit. Raises
    RunError for a loss that is not finite; KeyboardInterrupt, after saving a checkpoint, for Ctrl-C or SIGTERM.
    """
    state = TrainState(job, network)
    start = state.restore()
    job.track.rewind(job.name, start)
    batches = job.train.batches(start, state.steps)
    if teacher is not None:
        batches = teacher.labelled(batches, state.precision)
    pending: list[Any] = []  # losses not yet checked: reading one waits for the device
    # Paddle names optimizer state by a counter: a fresh one, so that any process finds what another one saved.
    with state.bar(start) as bar, stop_signals() as stop, paddle.utils.unique_name.guard():
        for step in range(start, state.steps):
            state.optimizer.set_lr(optim.learning_rate(job.stage.optim, step, state.steps, job.train.steps_per_epoch))
            metrics, batch = train_step(state, objective, batches, step)
            state.average.update(network, step)
            pending.append(metrics["loss"])
            done = step + 1
            images = done * job.stage.data.batch
            evaluated = done % state.eval_every == 0 and done < state.steps
            logged = evaluated or done % state.log_every == 0 or done == state.steps
            leave = stop.here_and_everywhere(job.runtime, logged)
            saved = leave or state.checkpoint_due()
            if logged or saved:
                check_finite(pending, done, job)
            if logged:
                values = {**read(metrics, batch), "lr": state.optimizer.get_lr(), "images_per_second": bar.rate(images)}
                state.log("train", done, values)
                bar.update(images, **values)
            if evaluated:
                bar.update(images, val_top1=state.evaluate(done)["top1"])
            if saved:
                state.save(done)
            if leave:
                barrier(job.runtime)  # a rank that ends has the others killed: none before the checkpoint is whole
                raise KeyboardInterrupt
    return state.finish()


def train_step(
    state: TrainState, objective: Any, batches: Iterator[dict[str, Any]], step: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One update of the weights from `accumulate` micro-batches; returns the last one's metrics and batch."""
    parts_of_step = state.stage.optim.accumulate
    for part in range(parts_of_step):
        batch = next(batches)
        state.seed(step, part)
        with state.ranks.hold(more_follow=part + 1 < parts_of_step), state.precision():
            logits = state.ranks.forward(batch["image"])
            loss, parts = objective(logits, batch.get("teacher"), batch)
            state.scaler.scale(loss / parts_of_step).backward()
    state.ranks.average()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.clear_grad()
    return {"loss": loss.detach(), **parts, "logits": logits.detach()}, batch


def check_finite(losses: list[Any], done: int, job: Job) -> None:
    """Raise RunError, naming the step, when a loss since the last check was NaN or infinite; empties the list."""
    first = done - len(losses) + 1
    for step, loss in enumerate((float(loss) for loss in losses), first):
        if not math.isfinite(loss):
            saved = checkpoint.newest_step(job.folder)
            good = f"the last good checkpoint is of step {saved}" if saved else "there is no checkpoint yet"
            what = f"the loss became {loss} at step {step}; {good}; lower optim.lr or set optim.clip_norm"
            raise RunError(f"stage {job.name}: {what}")
    losses.clear()


def read(metrics: dict[str, Any], batch: dict[str, Any]) -> dict[str, float]:
    """The metrics as numbers, with top-1 (percent) on the labelled images of the batch where no images were mixed."""
    values = {name: float(value) for name, value in metrics.items() if name != "logits"}
    labels = batch["label"].numpy()
    if (labels >= 0).any() and "lam" not in batch:
        right = metrics["logits"].numpy().argmax(1) == labels
        values["top1"] = 100 * float(right[labels >= 0].mean())
    return values
