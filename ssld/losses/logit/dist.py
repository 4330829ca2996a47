"""DIST: correlations with the teacher, of the classes of an image and of the images of a class. arXiv:2205.10536

With P the softmaxes of logits / T of a batch, [N, classes], and r(a, b) = a'.b' / (|a'| |b'| + 1e-8), where a' is a
less its mean:

    inter  1 - mean over the rows of r(P_s[n, :], P_t[n, :])
    intra  1 - mean over the columns of r(P_s[:, c], P_t[:, c])
    loss   T^2 (beta inter + gamma intra)

The 1e-8 is added to the product of the lengths, as in the official code (github.com/hunto/image_classification_sota),
which trains with beta and gamma 1, a weight of 2, a cross entropy of weight 1, and T 1 on ImageNet, 4 on CIFAR-100.
`intra` needs the images of a batch: the loss is computed on the micro-batch of a rank, of two images or more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.functions import log_softmax, root
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Factor, Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Dist(Loss):
    """T^2 (beta inter + gamma intra), a number a micro-batch of a rank.

    beta: of the relation between the classes of an image. gamma: of the relation between the images of a class.
    """

    beta: Factor = 1.0
    gamma: Factor = 1.0
    temperature: Positive = 1.0

    reads: ClassVar = Reads(teacher={"logits"})
    every_class: ClassVar = True
    coupled: ClassVar = True
    paper: ClassVar = Paper("Knowledge Distillation from a Stronger Teacher", 2022, "2205.10536")
    golden: ClassVar = "dist"
    ledger: ClassVar = ("DIST",)
    use: ClassVar = (
        "A teacher that is much stronger than the student: correlations ask for the order and the proportions of "
        "its probabilities, and not for their values."
    )
    traps: ClassVar = (
        "`gamma` compares the images of one micro-batch of one rank, so its value changes with the batch, with "
        "`accumulate` and with the number of ranks.",
        "1e-8 is added to the product of the two lengths. A port that takes the larger one of the two numbers is "
        "another loss where probabilities are almost one-hot.",
        "PaddleClas has no temperature in it.",
        "For ResNet34 to ResNet18 72.07 was published, and three runs of the official code gave 71.7 to 71.9.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        p_s, p_t = (log_softmax(outputs["logits"] / self.temperature).exp() for outputs in (student, teacher))
        inter, intra = _apart(p_s, p_t, axis=1), _apart(p_s, p_t, axis=0)
        return self.temperature**2 * (self.beta * inter + self.gamma * intra)


def _apart(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Return 1 - the mean of the correlations along an axis of two matrices, a number."""
    a, b = (x - x.mean(axis=axis, keepdim=True) for x in (a, b))
    length_a, length_b = (root(x.square().sum(axis=axis)) for x in (a, b))
    return 1 - ((a * b).sum(axis=axis) / (length_a * length_b + 1e-8)).mean()
