"""Be your own teacher: classifiers on the shallow stages learn from the label and from the network's own last layer.
arXiv:1905.08094

Every stage but the last has a branch, convolutions that bring its map to the size and the channels of the last map,
whose mean over the pixels is a vector f_i, and a linear layer, which makes logits z_i. With z and f, the logits of the
network and the mean of its last map, both without a gradient, and p the softmax at temperature T:

    branch i  (1 - a) CE(z_i, label) + a T^2 KL(p(z) || p(z_i)) + b sum over d of (f_i - f)^2
    loss      sum over the branches

It stands beside a cross entropy of the network's own logits. The branches are trained with the network, and in use they
are left out. The paper names no numbers; a = 0.3, T = 3 and b = 0.03 are those of the configuration of
github.com/open-mmlab/mmrazor. There the factor b is an argument that has no effect on features that are not normalised,
and the logits of the branches have no gradient of the divergence, so its code computes something else than it says. The
port github.com/luanyunteng/pytorch-be-your-own-teacher takes a = 0.1, T = 3 and b = 1e-6 of a sum over the batch of the
numbers of which one is above 0, the soft cross entropy, which differs from the divergence by a constant, and 1 - a of
the network's own cross entropy too. Branches here are those of the loss `ofa`, separable convolutions as in mmrazor,
without the attention that mmrazor puts before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Labelled, Paper, Reads, Shape, Without
from ssld.losses.classes import at, softened
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import Tensor
from ssld.losses.maps import pooled
from ssld.losses.stages import AFTER, stages_of, taps_of
from ssld.spec.ranges import Factor, Positive, Share, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Byot(Labelled):
    """Sum over the branches of (1 - alpha) cross entropy + alpha divergence from the last logits + the gap of vectors.

    student: taps that have a branch, from shallow to deep; by default every stage but the last. features: b.
    """

    alpha: Share = 0.3
    temperature: Positive = 3.0
    features: Factor = 0.03
    student: tuple[Text, ...] | None = None

    mixed: ClassVar = "both"
    paper: ClassVar = Paper(
        "Be Your Own Teacher: Improve the Performance of Convolutional Neural Networks via Self Distillation",
        2019,
        "1905.08094",
    )
    golden: ClassVar = Without(
        "The authors published no code, and the ports differ from the paper; a test compares it with its formula."
    )
    ledger: ClassVar = (
        "BYOT",
        "BYOT classifier 1/4",
        "BYOT classifier 2/4",
        "BYOT classifier 3/4",
        "BYOT classifier 4/4",
    )
    use: ClassVar = (
        "Labelled images and no teacher, where the training may cost more: the shallow stages are told early what the "
        "classes are. It stands beside a cross entropy."
    )
    traps: ClassVar = (
        "What is exported is the network alone: the accuracies that are published of shallow classifiers are of "
        "branches, which are not kept.",
        "The weight of the gap belongs to a sum over the numbers of a vector, and so to the channels of the last map.",
        "The port in mmrazor lets no gradient of the divergence through, and its weight of the gap has no effect.",
    )
    cost: ClassVar = (
        "There is no teacher to pass forward; every stage but the last has a branch of separable convolutions, forward "
        "and backward."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.student == ():
            raise RecipeError("student: there is no tap; name one at least, or leave it out")

    @property
    def taps(self) -> tuple[str, ...]:
        """Return the taps that have a branch."""
        return self.student or (AFTER,)

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student={"logits", "map", *self.taps}, batch={"label"})

    def fitted(self, student: Mapping[str, Shape], teacher: Mapping[str, Shape]) -> Byot:
        if self.student is not None:
            return self
        return replace(self, student=tuple(taps_of(AFTER, [*stages_of("student", student)][:-1], student)))

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.branch import Branches

        last = about.student["map"]
        return Branches([about.student[tap] for tap in self.taps], last, last[0], about.student["logits"][-1])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        logits, features = student["logits"].detach(), pooled(student["map"]).detach()
        total = 0.0
        for vector, own in helpers.vectors_and_logits([student[tap] for tap in self.taps]):
            true = -at(log_softmax(own), batch["label"])
            gap = (vector - features).square().sum(axis=1)
            total = total + (1 - self.alpha) * true + self.alpha * softened(own, logits, self.temperature)
            total = total + self.features * gap
        return total
