"""Wasserstein distance of logits: probability is moved between classes, cheaply between like ones. arXiv:2412.08139

p are the softmaxes at temperature 1, q_s and q_t those of the other classes than the true one at temperature T. Moving
probability from class i to class j costs D_ij, which grows with the angle between the teacher's weights of the two:

    D    = 1 - exp(-k (1 - cosine of the rows i and j of the teacher's classifier)) + 1e-8
    K    = exp(-D / r);  u = 1 / (classes - 1);  n times: v = q_t / (K^T u + 1e-8), u = q_s / (K v + 1e-8)
    loss = -p_t[y] ln p_s[y] + gamma sum over i, j of u_i K_ij D_ij v_j

The true class has neither u nor v, so that one matrix K serves all images. Formulas and constants are those of the
official code (github.com/JiamingLv/WKD), WKD-L: r = 0.05, n = 10; ImageNet gamma 30, T 2, k 1 (2 for ResNet50 to
MobileNetV1); CIFAR-100 gamma 600, T 8, falling to 0 by a cosine from epoch 150 on. The gradient passes through all n
rounds. The code offers another cost too, by the similarity of the classes' features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads
from ssld.losses.classes import at, without
from ssld.losses.classifier import rows
from ssld.losses.functions import log_softmax, unit
from ssld.losses.lazy import F, Tensor
from ssld.spec.ranges import Count, Factor, Positive

if TYPE_CHECKING:
    from paddle import nn

EPSILON = 1e-8


@dataclass(frozen=True)
class WkdL(Labelled):
    """-p_t[y] ln p_s[y] + gamma times the cost of moving the student's probabilities to the teacher's.

    temperature: T. sharpness: k. regularisation: r. rounds: n.
    """

    gamma: Factor = 30.0
    temperature: Positive = 2.0
    sharpness: Positive = 1.0
    regularisation: Positive = 0.05
    rounds: Count = 10

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"}, weights={"teacher": {"classifier"}})
    every_class: ClassVar = True
    paper: ClassVar = Paper(
        "Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation", 2024, "2412.08139"
    )
    golden: ClassVar = "wkd"
    ledger: ClassVar = ("WKD-L", "WKD-L+WKD-F")
    use: ClassVar = (
        "A teacher whose classifier says which classes are alike: a student that takes one husky for another "
        "pays less than one that takes it for a truck."
    )
    traps: ClassVar = (
        "The gradient passes through all rounds, which costs N C numbers for each and products with a matrix of "
        "C^2: a step is slower than with `kl`.",
        "`gamma` is 600 on CIFAR-100 and falls to 0 from epoch 150 on; a weight that changes says so.",
        "It needs the weights of the teacher's classifier, so a teacher from an engine or a label cache cannot "
        "teach it.",
    )
    cost: ClassVar = (
        "Ten rounds of products with a matrix of all pairs of classes, which the gradient passes through as well."
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        z_s, z_t = student["logits"], teacher["logits"]
        true = F.one_hot(batch["label"], z_s.shape[-1]).astype("bool")
        target = -at(log_softmax(z_t), batch["label"]).exp() * at(log_softmax(z_s), batch["label"])
        costs = cost(rows(teacher.weights).astype(z_s.dtype), self.sharpness)
        q_s, q_t = (without(z / self.temperature, true).exp() for z in (z_s, z_t))
        return target + self.gamma * self._moved(q_s, q_t, (~true).astype(z_s.dtype), costs)

    def _moved(self, q_s: Tensor, q_t: Tensor, others: Tensor, costs: Tensor) -> Tensor:
        """Return [N]: the cost of the plan between q_s and q_t, [N, classes] each, 0 for the true class like
        `others`.
        """
        kernel = (-costs / self.regularisation).exp()
        u = others / (others.shape[-1] - 1)
        for _ in range(self.rounds):
            v = q_t / (u @ kernel + EPSILON)
            u = q_s / (v @ kernel.T + EPSILON)
        return (u * (v @ (kernel * costs).T)).sum(axis=-1)


def cost(weight: Tensor, sharpness: float) -> Tensor:
    """Return D [classes, classes] from the rows of a classifier, [classes, d]; it carries no gradient."""
    angle = unit(weight.detach())
    return F.relu(1 - (-sharpness * (1 - angle @ angle.T)).exp()) + EPSILON
