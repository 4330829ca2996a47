"""Accuracy of a network, and how far a student agrees with its teacher."""

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ssld.runtime import Runtime, sum_over_ranks


@paddle.no_grad()
def predict(
    network: nn.Layer, loader: Any, progress: Callable[[int], None] = lambda images: None
) -> tuple[np.ndarray, np.ndarray]:
    """Logits float32 [n, classes] and labels int64 [n] of this rank's share, in order; leaves eval mode on.

    `progress` is told the number of images that are done.
    """
    network.eval()
    logits: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for batch in loader.batches():
        logits.append(network(batch["image"]).astype("float32").numpy())
        labels.append(batch["label"].numpy())
        progress(sum(map(len, labels)))
    return np.concatenate(logits), np.concatenate(labels)


def evaluate(
    network: nn.Layer, loader: Any, runtime: Runtime, progress: Callable[[int], None] = lambda images: None
) -> dict[str, float]:
    """top1, top5 (percent) and cross entropy `loss` (nats) over the images of all ranks.

    Running statistics are rank 0's: they are sent to the other ranks first.
    """
    if runtime.world > 1:
        for key, value in network.state_dict().items():
            if key.endswith(("._mean", "._variance")):
                paddle.distributed.broadcast(value, src=0)
    sums = scores(*predict(network, loader, progress))
    count, top1, top5, loss = sum_over_ranks(sums, runtime)
    return {"top1": 100 * top1 / count, "top5": 100 * top5 / count, "loss": loss / count}


def scores(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[count, top-1 hits, top-5 hits, summed cross entropy], float64.

    A tie counts as a miss of the later class, logits that are NaN as a miss.
    """
    own = logits[np.arange(len(labels)), labels]
    order = np.arange(logits.shape[1])
    behind = (logits < own[:, None]) | ((logits == own[:, None]) & (order >= labels[:, None]))
    rank = (~behind).sum(1)
    return np.array(
        [len(labels), (rank < 1).sum(), (rank < 5).sum(), -log_softmax(logits)[np.arange(len(labels)), labels].sum()]
    )


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    shifted = logits.astype("float64") - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    return np.exp(log_softmax(logits))


def agreement(student: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Of logits [n, classes]: share of equal top-1 (percent, also per true class), mean KL(teacher || student) in nats,
    and how many images both, one or none of the two get right."""
    said, taught = student.argmax(1), teacher.argmax(1)
    log_s, log_t = log_softmax(student), log_softmax(teacher)
    right, taught_right = said == labels, taught == labels
    classes = student.shape[1]
    return {
        "top1": 100 * float((said == taught).mean()),
        "kl": float((np.exp(log_t) * (log_t - log_s)).sum(1).mean()),
        "both_right": int((right & taught_right).sum()),
        "only_student": int((right & ~taught_right).sum()),
        "only_teacher": int((~right & taught_right).sum()),
        "both_wrong": int((~right & ~taught_right).sum()),
        "per_class": [
            100 * float((said == taught)[labels == c].mean()) if (labels == c).any() else None for c in range(classes)
        ],
    }
