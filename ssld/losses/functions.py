"""Compute the functions that several losses share."""

from __future__ import annotations

from ssld.losses.lazy import F, Tensor, paddle

HIDDEN = -1e30
"""In the place of a logit that is left out: its probability is 0, and 0 times its logarithm is 0 and not NaN."""


def log_softmax(logits: Tensor) -> Tensor:
    """Return the logarithm of the softmax over the last axis, [N, classes] -> [N, classes], in float32 or float64.

    Paddle's own `log_softmax` is not used: on a CPU it cuts shifted logits off at -64, so that logits of 1e4 give a
    wrong value and no gradient that matches it. 16-bit logits are cast first: a probability of 1e-8 is 0 in fp16.
    """
    if logits.dtype in (paddle.float16, paddle.bfloat16):
        logits = logits.astype("float32")
    shifted = logits - logits.detach().max(axis=-1, keepdim=True)
    return shifted - shifted.exp().sum(axis=-1, keepdim=True).log()


def log_sum_exp(logits: Tensor) -> Tensor:
    """Return the logarithm of the sum of exponentials over the last axis, [N, classes] -> [N, 1], without overflow."""
    top = logits.detach().max(axis=-1, keepdim=True)
    return top + (logits - top).exp().sum(axis=-1, keepdim=True).log()


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of each row in nats, from logarithms of probabilities: [N, classes] twice -> [N]."""
    return (log_p.exp() * (log_p - log_q)).sum(axis=-1)


def unit(x: Tensor, axis: int = -1) -> Tensor:
    """Divide x by its Euclidean length along an axis; it becomes 0, without a gradient, where that is below 1e-12.

    PyTorch's `normalize` divides such a vector by 1e-12 instead: its value is as good as 0 too, but its gradient is
    1e12 times too long.
    """
    square = x.square().sum(axis=axis, keepdim=True)
    return x * (square > 1e-24).astype(x.dtype) * square.clip(min=1e-24).rsqrt()


def match(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Bring two maps [N, C, H, W] to the size of the smaller one: the larger one is averaged, adaptively."""
    student_size, teacher_size = student.shape[2:], teacher.shape[2:]
    if student_size[0] > teacher_size[0]:
        student = F.adaptive_avg_pool2d(student, teacher_size)
    elif student_size[0] < teacher_size[0]:
        teacher = F.adaptive_avg_pool2d(teacher, student_size)
    return student, teacher


def root(square: Tensor) -> Tensor:
    """Return the square root of numbers from 0 up.

    Numbers below 1e-24 count as that, and have no gradient: the slope at 0 is infinite, and infinity times 0 is NaN.
    """
    return square.clip(min=1e-24).sqrt()


def smooth_l1(gap: Tensor) -> Tensor:
    """Return gap^2 / 2 where the gap is below 1, else |gap| - 1/2; any shape."""
    size = gap.abs()
    return paddle.where(size < 1, 0.5 * gap.square(), size - 0.5)
