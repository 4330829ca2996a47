"""Compute what several losses of logits share: the true class apart from the others, divergences, deviations."""

from __future__ import annotations

from ssld.losses.functions import HIDDEN, divergence, log_softmax, log_sum_exp, root
from ssld.losses.lazy import F, Tensor, paddle


def at(values: Tensor, label: Tensor) -> Tensor:
    """Return the number of each row that belongs to its class: [N, classes], int64 [N] -> [N]."""
    return paddle.take_along_axis(values, label.unsqueeze(-1), axis=-1).squeeze(-1)


def one_hot(label: Tensor, like: Tensor) -> Tensor:
    """Turn int64 [N] into [N, classes] of the shape and type of `like`: 1 at the class of each row, else 0."""
    return F.one_hot(label, like.shape[-1]).astype(like.dtype)


def softened(student: Tensor, teacher: Tensor, temperature: float | Tensor) -> Tensor:
    """Return T^2 KL(teacher || student) of each row, softmaxes of logits / T: [N, classes] twice -> [N]."""
    return temperature**2 * divergence(log_softmax(teacher / temperature), log_softmax(student / temperature))


def soft_cross_entropy(log_s: Tensor, target: Tensor) -> Tensor:
    """Return -sum of target log_s over the classes: [N, classes] twice -> [N]."""
    return -(target * log_s).sum(axis=-1)


def two_way(logits: Tensor, chosen: Tensor) -> Tensor:
    """Return [N, 2]: the logarithms of the probabilities of the chosen class and of all others together.

    logits: [N, classes]; chosen: bool [N, classes], true once a row.
    """
    whole, others = log_sum_exp(logits), log_sum_exp(paddle.where(chosen, paddle.full_like(logits, HIDDEN), logits))
    own = paddle.where(chosen, logits, paddle.zeros_like(logits)).sum(axis=-1, keepdim=True)
    return paddle.concat([own - whole, others - whole], axis=-1)


def without(logits: Tensor, hidden: Tensor) -> Tensor:
    """Return [N, classes]: the logarithms of the softmax over the classes that `hidden`, bool [N, classes], leaves.

    A row of which nothing is left counts as one of equal logits.
    """
    return log_softmax(paddle.where(hidden, paddle.full_like(logits, HIDDEN), logits))


def deviation(logits: Tensor) -> Tensor:
    """Return the standard deviation of each row with n - 1 in the denominator, [N, classes] -> [N, 1]."""
    centred = logits - logits.mean(axis=-1, keepdim=True)
    return root(centred.square().sum(axis=-1, keepdim=True) / (logits.shape[-1] - 1))


def standardised(logits: Tensor) -> Tensor:
    """Return each row less its mean, over its deviation + 1e-7: [N, classes] -> the same.

    Source: arXiv:2403.01427 and its code.
    """
    return (logits - logits.mean(axis=-1, keepdim=True)) / (deviation(logits) + 1e-7)
