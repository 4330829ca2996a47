"""Train the network of one stage of a plan. This module has the whole training loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import paddle
from paddle import Tensor, nn

from ssld.distill import checkpoint, optim
from ssld.distill.job import Job
from ssld.distill.state import TrainState, set_mode
from ssld.distill.waiting import Waiting
from ssld.errors import RunError
from ssld.interfaces import Batch, Labeller, StageScores
from ssld.runtime import Runtime, barrier, sum_over_ranks
from ssld.stopping import Stop, caught


@caught()
def run_stage(
    job: Job, network: nn.Layer, labeller: Labeller | None, peers: Mapping[str, nn.Layer] | None = None
) -> StageScores:
    """Train `network` in place, from the newest checkpoint of `job.folder` if there is one.

    Returns the final scores. `labeller` puts a teacher's outputs beside the batches; it is None where no loss learns
    from a teacher. `peers` are networks by name that are trained beside it, in place too.

    Step s is a function of the state after step s-1 and of (seed, stage, s) alone: sample order, augmentation, dropout
    and learning rate are closed forms of the step, so that a resumed run ends with the same weights bit for bit. Raises
    RunError for a loss that is not finite, and after the first step for a trained parameter that no loss reaches.
    Raises KeyboardInterrupt, after it has saved a checkpoint, for Ctrl-C and the other signals of `stopping`.
    """
    assert job.track is not None, "a job that is run keeps its numbers"
    state = TrainState(job, network, labeller, peers)
    state.tell()
    start = state.restore()
    for one in state.networks:
        set_mode(one, job.stage.train)
    job.track.rewind(job.name, start, evaluated=start < state.steps, curve=state.curve)
    waiting = Waiting(job)
    batches = waiting.batches(job.train.batches(start, state.steps))
    if labeller is not None:
        batches = labeller.labelled(batches, state.precision)
    pending: list[Tensor] = []  # losses that are not checked yet, because reading one waits for the device
    # Paddle names optimizer state by a counter. A fresh counter lets any process find what another one saved.
    with state.bar(start) as bar, caught() as stop, stop.delayed(), paddle.utils.unique_name.guard():
        for step in range(start, state.steps):
            state.optimizer.set_lr(optim.learning_rate(job.stage.optim, step, state.steps, job.train.steps_per_epoch))
            metrics, batch = train_step(state, batches, step, first=step == start)
            state.update_averages(step)
            pending.append(metrics["loss"])
            completed = step + 1
            images = completed * job.stage.data.batch
            evaluated = completed % state.eval_every == 0 and completed < state.steps
            logged = evaluated or completed % state.log_every == 0 or completed == state.steps
            leave = asked_everywhere(stop, job.runtime, logged)
            saved = leave or state.checkpoint_due() or completed == state.steps  # evaluating the last one takes long
            if logged or saved:
                check_finite(pending, completed, job)
            if logged:
                values = {
                    **read(metrics, batch),
                    "lr": state.optimizer.get_lr(),
                    "images_per_second": bar.rate(images),
                }
                state.log("train", completed, values)
                bar.update(images, **values)
                waiting.tell()
            with waiting.paused():
                if evaluated:
                    bar.update(images, val_top1=state.evaluate(completed)["top1"])
                if saved:
                    state.save(completed)
            if leave or completed == state.steps:
                barrier(job.runtime)  # a rank that ends kills the others, so that all wait for the whole checkpoint
            if leave:
                raise KeyboardInterrupt
    return state.finish()


def asked_everywhere(stop: Stop, runtime: Runtime, logged: bool) -> bool:
    """Return whether to stop after this step.

    Several ranks give the same answer at `logged` steps, so that no rank waits for one that has left; at other steps it
    is false.
    """
    if runtime.world == 1:
        return stop.asked
    return logged and bool(sum_over_ranks(np.array([float(stop.asked)]), runtime)[0])


def train_step(
    state: TrainState, batches: Iterator[Batch], step: int, first: bool = False
) -> tuple[dict[str, Tensor], Batch]:
    """Make one update of the weights from `accumulate` micro-batches.

    Returns the metrics and the last micro-batch. The metrics are the mean of the losses, and the parts and logits of
    the last micro-batch. In the `first` step of a process every trained parameter must have a gradient.
    """
    parts_of_step, losses = state.stage.optim.accumulate, []
    for part in range(parts_of_step):
        batch = next(batches)
        batch["step"], batch["epoch"] = step, step // state.job.train.steps_per_epoch + 1
        state.seed(step, part)
        with state.ranks.hold(more_follow=part + 1 < parts_of_step), state.precision():
            loss_of_sides, parts, logits = state.ranks.forward(batch)
            state.update.backward(loss_of_sides, parts_of_step)
        losses.append(
            loss_of_sides[0].detach() if len(loss_of_sides) == 1 else (loss_of_sides[0] + loss_of_sides[1]).detach()
        )
    if first:
        state.check_first_step()
    state.update.step()
    state.whole.after_step(state.job.runtime)
    mean = losses[0] if len(losses) == 1 else paddle.stack(losses).mean()  # it is not finite where one loss is not
    return {"loss": mean, **parts, "logits": logits.detach()}, batch


def check_finite(losses: list[Tensor], last_step: int, job: Job) -> None:
    """Check that every loss since the last check was finite, and empty the list.

    Raises RunError, which names the step, for a loss that was NaN or infinite.
    """
    first_step = last_step - len(losses) + 1
    for step, loss in enumerate((float(loss) for loss in losses), first_step):
        if not math.isfinite(loss):
            saved = checkpoint.newest_step(job.folder)
            last_checkpoint = f"the last good checkpoint is of step {saved}" if saved else "there is no checkpoint yet"
            what = f"the loss became {loss} at step {step}; {last_checkpoint}; lower optim.lr or set optim.clip_norm"
            raise RunError(f"stage {job.name}: {what}")
    losses.clear()


def read(metrics: dict[str, Tensor], batch: Batch) -> dict[str, float]:
    """Return the metrics as numbers.

    Where no images were mixed, they have the top-1 (percent) on the labelled images of the batch, of a peer as
    `<name>/top1`.
    """
    logits = {name: value for name, value in metrics.items() if name.rpartition("/")[2] == "logits"}
    values = {name: float(value) for name, value in metrics.items() if name not in logits}
    labels = batch["label"].numpy()
    if (labels >= 0).any() and "lam" not in batch:
        for name, value in logits.items():
            hits = value.numpy().argmax(1) == labels
            values[f"{name.removesuffix('logits')}top1"] = 100 * float(hits[labels >= 0].mean())
    return values
