"""Apply networks to images, and compute their logits, the scores of a stage, and the numbers of an evaluation."""

from collections.abc import Callable
from functools import partial
from typing import TypedDict, cast

import numpy as np
import paddle
from paddle import nn

from ssld.data import ImageSource, Scoring
from ssld.distill import metrics
from ssld.distill.arrays import Floats, Numbers
from ssld.distill.corruption import Corruption, corruption_errors
from ssld.interfaces import Evaluator, Scores
from ssld.models import evaluating
from ssld.runtime import Runtime, sum_over_ranks

Progress = Callable[[int], None]  # a function that is called with the number of finished images
Ask = Callable[[ImageSource, Progress], Floats]  # a function that returns the logits float32 [n, classes] of images


class Measured(TypedDict, total=False):
    """Hold what `measure` returns: what `metrics.summary` says, and what the list and the teacher add to it."""

    top1: float
    top5: float
    nll: float | None
    ece: float | None
    reliability: metrics.Reliability | None
    per_class: metrics.PerClass
    worst: list[metrics.Worst]
    agreement: metrics.Agreement
    corruptions: dict[str, Corruption]
    mean_error: float
    mce: float | None


@paddle.no_grad()
def predict(network: nn.Layer, loader: Evaluator, progress: Progress = lambda images: None) -> tuple[Floats, Numbers]:
    """Return logits float32 [n, classes] and labels int64 [n] of this rank's share, in order, in evaluation mode.

    Afterwards every layer of the network is in its former mode.
    """
    logits: list[Floats] = []
    labels: list[Numbers] = []
    with evaluating(network):
        for batch in loader.batches():
            logits.append(network(batch["image"]).astype("float32").numpy())
            labels.append(batch["label"].numpy())
            progress(sum(map(len, labels)))
    return np.concatenate(logits), np.concatenate(labels)


def evaluate(
    network: nn.Layer, loader: Evaluator, runtime: Runtime, progress: Progress = lambda images: None
) -> Scores:
    """Return the scores over the images of all ranks.

    Running statistics, and buffers of any kind that a forward pass changes, are those of rank 0, which sends them to
    the other ranks first.
    """
    if runtime.world > 1:
        for value in network.state_dict().values():
            if value.stop_gradient:
                paddle.distributed.broadcast(value, src=0)
    scored = metrics.score(*predict(network, loader, progress))
    sums = np.array([len(scored), scored.right.sum(), (scored.place < 5).sum(), scored.nll.sum()])
    count, top1, top5, loss = sum_over_ranks(sums, runtime).tolist()
    return {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}


def measure(
    ask: dict[str, Ask], files: ImageSource, scoring: Scoring, classes: int, progress: Progress = lambda images: None
) -> Measured:
    """Return `metrics.summary` of the student on labelled images, which are scored as their list asks.

    `ask` maps `student`, and perhaps `teacher`, to the function that gives its logits. With a teacher the result has
    the `agreement` of the two. Where a list restricts the classes, the other logits are left out, so that no
    probability goes to them. Where several labels are right, the one that the network ranks first counts; nll and
    classes, which need one label, are left out. The images of each corruption are scored on their own, and the result
    has their `corruption_errors` in place of the agreement.
    """
    parts, images_before = [], 0
    for positions in scoring.parts(len(files)):
        part = files.subset(positions)
        part_progress = partial(_further, progress, images_before)
        logits_of = {name: logits(part, part_progress) for name, logits in ask.items()}
        if scoring.classes is not None:
            logits_of = {name: logits[:, scoring.classes] for name, logits in logits_of.items()}
        labels = _labels(logits_of["student"], part, scoring, positions)
        parts.append(metrics.score(logits_of["student"], labels))
        images_before += len(part)
    summary = metrics.summary(metrics.joined(parts), classes if scoring.classes is None else len(scoring.classes))
    if scoring.classes is not None:
        _name_by_label(summary, scoring.classes.tolist())
    result = cast(Measured, dict(summary))
    if scoring.valid is not None:
        del result["nll"], result["per_class"], result["worst"]
    if scoring.corruptions is not None:
        return {**result, **corruption_errors(scoring.corruptions, parts)}
    if "teacher" in logits_of:
        result["agreement"] = metrics.agreement(logits_of["student"], logits_of["teacher"], labels)
    return result


def _further(progress: Progress, images_before: int, images: int) -> None:
    progress(images_before + images)


def _labels(logits: Floats, part: ImageSource, scoring: Scoring, positions: Numbers) -> Numbers:
    """Return int64 [n], the labels of the images as columns of `logits`."""
    if scoring.valid is not None:
        return metrics.likeliest(logits, [scoring.valid[i] for i in positions])
    return part.labels if scoring.classes is None else np.searchsorted(scoring.classes, part.labels)


def _name_by_label(result: metrics.Summary, classes: list[int]) -> None:
    """Replace the columns of restricted logits by labels; `per_class` says which classes they are."""
    result["per_class"] = {"class": classes, **result["per_class"]}
    for entry in result["worst"]:
        entry["class"] = classes[entry["class"]]
        entry["mistakes"] = [[classes[c], images] for c, images in entry["mistakes"]]
