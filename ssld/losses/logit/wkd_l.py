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
from typing import Any, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Reads
from ssld.losses.classifier import rows
from ssld.losses.functions import HIDDEN, log_softmax, unit
from ssld.losses.lazy import F, Tensor, paddle

EPSILON = 1e-8


@dataclass(frozen=True)
class WkdL(Loss):
    """-p_t[y] ln p_s[y] + gamma times the cost of moving the student's probabilities to the teacher's.

    temperature: T. sharpness: k. regularisation: r. rounds: n. unlabelled: images without a label stop the run
    ("error"), or count 0 ("ignore").
    """

    gamma: float = 30.0
    temperature: float = 2.0
    sharpness: float = 1.0
    regularisation: float = 0.05
    rounds: int = 10
    unlabelled: Literal["error", "ignore"] = "error"

    reads: ClassVar = Reads(teacher={"logits"}, batch={"label"}, weights={"teacher": {"classifier"}})

    def __post_init__(self) -> None:
        positive = {"temperature": self.temperature, "sharpness": self.sharpness, "regularisation": self.regularisation}
        for name, value in positive.items():
            if not value > 0:
                raise RecipeError(f"{name}: {value} is not positive; give a positive number")
        if self.rounds < 1:
            raise RecipeError(f"rounds: {self.rounds}; give a whole number from 1 up, 10 is usual")
        if self.gamma < 0:
            raise RecipeError(f"gamma: {self.gamma} is negative; 30 is usual")

    def on_unlabelled(self) -> Literal["refuse", "ignore"]:
        return "ignore" if self.unlabelled == "ignore" else "refuse"

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: Any) -> Tensor:
        z_s, z_t = student["logits"], teacher["logits"]
        true = F.one_hot(batch["label"], z_s.shape[-1]).astype("bool")
        chosen = true.astype(z_s.dtype)
        target = -(chosen * log_softmax(z_t).exp() * log_softmax(z_s)).sum(axis=-1)
        costs = cost(rows(teacher.weights).astype(z_s.dtype), self.sharpness)
        return target + self.gamma * self._moved(self._others(z_s, true), self._others(z_t, true), 1 - chosen, costs)

    def _others(self, logits: Tensor, true: Tensor) -> Tensor:
        """The softmax over all classes but the true one, whose own share is 0."""
        return log_softmax(paddle.where(true, paddle.full_like(logits, HIDDEN), logits / self.temperature)).exp()

    def _moved(self, q_s: Tensor, q_t: Tensor, others: Tensor, costs: Tensor) -> Tensor:
        """[N]: the cost of the plan between q_s and q_t, [N, classes] each, 0 for the true class as `others` is."""
        kernel = (-costs / self.regularisation).exp()
        u = others / (others.shape[-1] - 1)
        for _ in range(self.rounds):
            v = q_t / (u @ kernel + EPSILON)
            u = q_s / (v @ kernel.T + EPSILON)
        return (u * (v @ (kernel * costs).T)).sum(axis=-1)


def cost(weight: Tensor, sharpness: float) -> Tensor:
    """D [classes, classes] from the rows of a classifier, [classes, d]; it carries no gradient."""
    angle = unit(weight.detach())
    return F.relu(1 - (-sharpness * (1 - angle @ angle.T)).exp()) + EPSILON
