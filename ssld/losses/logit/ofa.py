"""One for all: the stages of a student speak as logits, and the true class of the teacher is raised. arXiv:2310.19444

With p the softmax of logits at temperature 1 and o the one-hot label:

    l(z)  - sum over classes of ((p_t + o)^eps - o) ln p(z)
    loss  l(z_s) + the sum over the branches of l(z_branch)

For eps 1 it is the cross entropy with the teacher's probabilities. A branch makes logits of a stage, see
`losses/layers/branch.py`; its width at the end is the larger one of the embeddings of student and teacher, unless it is
given. eps is 1.5 on ImageNet, 1 on CIFAR-100 in the official code (github.com/Hao840/OFAKD), where final logits and the
four stages each have the weight 1, beside a cross entropy with smoothing 0.1. Branches for stages of transformers are
not part of this loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Labelled, Paper, Reads, Shape
from ssld.losses.classes import one_hot, soft_cross_entropy
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.losses.maps import FOUR
from ssld.losses.stages import AFTER, instead_of, stages_of, taps_of
from ssld.spec.ranges import Count, Positive, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ofa(Labelled):
    """l of the final logits + l of the logits of a trained branch for each tap.

    eps: the power. student: taps that give maps, from shallow to deep, by default the four deepest stages; [] is the
    final logits alone. width: numbers of the vector that a branch ends in.
    """

    eps: Positive = 1.5
    student: tuple[Text, ...] | None = instead_of(FOUR)
    width: Count | None = None

    paper: ClassVar = Paper(
        "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation", 2023, "2310.19444"
    )
    golden: ClassVar = "ofa"
    use: ClassVar = (
        "Teacher and student of different kinds, such as a transformer and a convolutional network: stages are "
        "compared as logits, so their maps need not resemble each other. `student: []` leaves the final logits "
        "alone."
    )
    traps: ClassVar = (
        "The golden file holds the loss of logits; the branches are written from the description of the official "
        "code and are compared with nothing.",
        "Its recipe for CIFAR-100 is its own (300 epochs, strong weight decay), and users could not reproduce "
        "its tables.",
        "Branches are trained for every stage: with a small student they can cost more than the student itself.",
    )
    cost: ClassVar = (
        "Each branch has separable convolutions, forward and backward, on the map of a stage of the student."
    )

    @property
    def taps(self) -> tuple[str, ...]:
        """Return the taps that have a branch."""
        return (AFTER,) if self.student is None else self.student

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        if not self.taps:
            return Reads(teacher={"logits"}, batch={"label"})
        widths = {"embedding"} if self.width is None else set()
        return Reads({"logits", "map", *self.taps} | widths, {"logits"} | widths, {"label"})

    def fitted(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> Ofa:
        if self.student is not None:
            return self
        deepest = [*stages_of("student", student)][-len(FOUR) :]
        return replace(self, student=tuple(taps_of(AFTER, deepest, student)))

    def helpers(self, about: About) -> nn.Layer | None:
        if not self.taps:
            return None
        from ssld.losses.layers.branch import Branches

        width = self.width or max(about.student["embedding"][-1], about.teacher["embedding"][-1])
        shapes = [about.student[tap] for tap in self.taps]
        return Branches(shapes, about.student["map"], width, about.student["logits"][-1])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        branches = helpers([student[tap] for tap in self.taps]) if self.taps else []
        true = one_hot(batch["label"], teacher["logits"])
        target = (log_softmax(teacher["logits"]).exp() + true) ** self.eps - true
        return sum(soft_cross_entropy(log_softmax(z), target) for z in (student["logits"], *branches))
