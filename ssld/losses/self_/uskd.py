"""USKD: soft labels without a teacher, of the student's logits and of a weak head. arXiv:2303.13005

With p the softmax of the student, w that of the weak head, a trained linear layer on the mean of an earlier map, y the
label, q the softmax of the student over all classes but y, and v, without a gradient, the soft labels:

    target  - v_y ln p[y], v_y = p[y]^2 + 1 - mean over the batch of p[y]^2
    others  - sum over the other classes of v ln q, v proportional to 1 / rank
    weak    cross entropy of w with the label, smoothing 0.1
    loss    alpha target + beta others + mu weak

The rank of a class, the true one included, is its place in the order of w / (1 - w[y]) + ln p / (1 - ln p[y]), the
largest first. The logarithms are those of the official code (github.com/yzd-v/cls_KD), where the same variable holds
probabilities before. alpha 1, beta 0.1 and mu 0.005 are those of the code. It takes the place of a cross entropy. The
mean is over the micro-batch of a rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Labelled, Paper, Reads, Shape
from ssld.losses.classes import at, soft_cross_entropy, without
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import F, Tensor, paddle
from ssld.losses.maps import pooled
from ssld.losses.stages import AFTER, instead_of, stages_of, taps_of
from ssld.spec.ranges import Factor, Text

if TYPE_CHECKING:
    from paddle import nn

SMOOTHING = 0.1  # of the label of the weak head, as in the official code


@dataclass(frozen=True)
class Uskd(Labelled):
    """alpha target + beta others + mu weak.

    student: the tap of the weak head, a map or a vector; by default the last stage but one.
    """

    alpha: Factor = 1.0
    beta: Factor = 0.1
    mu: Factor = 0.005
    student: Text | None = instead_of("stage3")

    paper: ClassVar = Paper(
        "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss and "
        "Customized Soft Labels",
        2023,
        "2303.13005",
    )
    golden: ClassVar = "uskd"
    ledger: ClassVar = ("USKD (tf-NKD)",)
    use: ClassVar = (
        "Labelled images and no teacher, at the cost of one linear layer. It takes the place of the cross entropy."
    )
    traps: ClassVar = (
        "The mean of p^2 is of one micro-batch of one rank, so `accumulate` and ranks change it a little.",
        "The order of the classes adds logarithms of the student to probabilities of the weak head, as the "
        "official code does.",
    )
    cost: ClassVar = (
        "There is no teacher to pass forward; one linear layer, and the order of the classes of each image."
    )

    @property
    def tap(self) -> str:
        """Return the tap of the weak head."""
        return self.student or AFTER

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={"logits", self.tap}, batch={"label"})

    def fitted(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> Uskd:
        if self.student is not None:
            return self
        (tap,) = taps_of(AFTER, [*stages_of("student", student)][-2:][:1], student)
        return replace(self, student=tap)

    def helpers(self, about: About) -> nn.Layer:
        return paddle.nn.Linear(about.student[self.tap][0], about.student["logits"][-1])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        logits, features, label = student["logits"], student[self.tap], batch["label"]
        log_p = log_softmax(logits)
        log_w = log_softmax(helpers(pooled(features)))
        square = at(log_p.detach(), label).exp().square()
        target = -(square + 1 - square.mean()) * at(log_p, label)
        true = F.one_hot(label, logits.shape[-1]).astype("bool")
        soft = self._by_rank(log_p.detach(), log_w.detach(), label) * (~true).astype(logits.dtype)
        others = soft_cross_entropy(without(logits, true), soft / soft.sum(axis=-1, keepdim=True))
        weak = -(1 - SMOOTHING) * at(log_w, label) - SMOOTHING * log_w.mean(axis=-1)
        return self.alpha * target + self.beta * others + self.mu * weak

    @staticmethod
    def _by_rank(log_p: Tensor, log_w: Tensor, label: Tensor) -> Tensor:
        """Return 1 / rank of every class, [N, classes]."""
        weak = log_w.exp() / (1 - at(log_w, label).exp() + 1e-6).unsqueeze(-1)
        score = weak + log_p / (1 - at(log_p, label)).unsqueeze(-1)
        place = score.argsort(axis=-1, descending=True, stable=True).argsort(axis=-1, stable=True)
        return 1 / (place.astype(log_p.dtype) + 1)
