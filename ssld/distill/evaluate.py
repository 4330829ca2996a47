"""Networks put to images: their logits, the scores of a stage, and all that an evaluation states."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ssld.data import ImageSource, Scoring
from ssld.distill import metrics
from ssld.distill.arrays import Array
from ssld.distill.corruption import corruption_errors
from ssld.interfaces import Evaluator
from ssld.models import evaluating
from ssld.runtime import Runtime, sum_over_ranks

Progress = Callable[[int], None]  # is told the number of images that are done
Ask = Callable[[ImageSource, Progress], Array]  # the logits float32 [n, classes] of images


@paddle.no_grad()
def predict(network: nn.Layer, loader: Evaluator, progress: Progress = lambda images: None) -> tuple[Array, Array]:
    """Logits float32 [n, classes] and labels int64 [n] of this rank's share, in order, in evaluation mode.

    Afterwards every layer of the network is in the mode that it was in.
    """
    logits: list[Array] = []
    labels: list[Array] = []
    with evaluating(network):
        for batch in loader.batches():
            logits.append(network(batch["image"]).astype("float32").numpy())
            labels.append(batch["label"].numpy())
            progress(sum(map(len, labels)))
    return np.concatenate(logits), np.concatenate(labels)


def evaluate(
    network: nn.Layer, loader: Evaluator, runtime: Runtime, progress: Progress = lambda images: None
) -> dict[str, float]:
    """top1, top5 (percent) and cross entropy `loss` (nats) over the images of all ranks.

    What a forward pass changes, running statistics and buffers of any kind, is rank 0's: it is sent to the other ranks
    first.
    """
    if runtime.world > 1:
        for value in network.state_dict().values():
            if value.stop_gradient:
                paddle.distributed.broadcast(value, src=0)
    found = metrics.score(*predict(network, loader, progress))
    sums = np.array([len(found), found.right.sum(), (found.place < 5).sum(), found.nll.sum()])
    count, top1, top5, loss = sum_over_ranks(sums, runtime)
    return {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}


def measure(
    ask: dict[str, Ask], files: ImageSource, scoring: Scoring, classes: int, progress: Progress = lambda images: None
) -> dict[str, Any]:
    """`metrics.summary` of the student on labelled images, scored as their list asks; with a teacher in `ask` also the
    `agreement` of the two.

    Of restricted classes the other logits are left out, so that no probability is given to them. Where several labels
    are right, the one that the network ranks first counts; nll and classes, which need one label, are left out.
    Corruptions are asked one after the other and get their `corruption_errors`; agreement is then left out.
    """
    parts, done = [], 0
    for positions in scoring.parts(len(files)):
        part = files.subset(positions)
        tell = partial(_further, progress, done)
        said = {name: logits(part, tell) for name, logits in ask.items()}
        if scoring.classes is not None:
            said = {name: logits[:, scoring.classes] for name, logits in said.items()}
        labels = _labels(said["student"], part, scoring, positions)
        parts.append(metrics.score(said["student"], labels))
        done += len(part)
    found = metrics.summary(metrics.joined(parts), classes if scoring.classes is None else len(scoring.classes))
    if scoring.classes is not None:
        _name_by_label(found, scoring.classes.tolist())
    if scoring.valid is not None:
        found = {key: value for key, value in found.items() if key not in ("nll", "per_class", "worst")}
    if scoring.corruptions is not None:
        return found | corruption_errors(scoring.corruptions, parts)
    return found | (
        {"agreement": metrics.agreement(said["student"], said["teacher"], labels)} if "teacher" in said else {}
    )


def _further(progress: Progress, done: int, images: int) -> None:
    progress(done + images)


def _labels(logits: Array, part: ImageSource, scoring: Scoring, positions: Array) -> Array:
    """int64 [n], columns of `logits`."""
    if scoring.valid is not None:
        return metrics.likeliest(logits, [scoring.valid[i] for i in positions])
    return part.labels if scoring.classes is None else np.searchsorted(scoring.classes, part.labels)


def _name_by_label(found: dict[str, Any], classes: list[int]) -> None:
    """From columns of restricted logits back to labels; `per_class` says which they are."""
    found["per_class"] = {"class": classes, **found["per_class"]}
    for entry in found["worst"]:
        entry["class"] = classes[entry["class"]]
        entry["mistakes"] = [[classes[c], images] for c, images in entry["mistakes"]]
