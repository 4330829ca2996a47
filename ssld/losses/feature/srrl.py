"""Softmax regression representation learning: the teacher's classifier judges the student's features.
(Yang, Martinez, Bulat, Tzimiropoulos: Knowledge distillation via softmax regression representation learning, ICLR 2021)

g is the mean over the pixels of the student's last map through a 1x1 convolution, batch norm and ReLU, f_t the vector
that the teacher's classifier takes, W and b the weight and bias of that classifier, z_t its logits:

    features = mean over d of (g - f_t)^2
    logits   = mean over the classes of (W g + b - z_t)^2
    loss     = a features + c logits

The gradient passes through the teacher's classifier, which stays as it is. Formulas are those of the official code
(github.com/jingyang2017/KD_SRRL), which adds both parts to a cross entropy with weight 1; the port in
github.com/yzd-v/cls_KD takes 5 on CIFAR-100. The official code averages the teacher's map, which is the same vector
where the classifier takes the pooled map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper, Reads
from ssld.losses.classifier import classified
from ssld.losses.lazy import F, Tensor
from ssld.losses.maps import TapLoss, as_map, pooled
from ssld.spec.ranges import Factor, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Srrl(TapLoss):
    """a mean squared gap of the features + c mean squared gap of the teacher's logits of them.

    features, logits: a and c.
    """

    teacher: Text = "embedding"
    features: Factor = 1.0
    logits: Factor = 1.0

    every_class: ClassVar = True
    paper: ClassVar = Paper("Knowledge Distillation via Softmax Regression Representation Learning", 2021)
    golden: ClassVar = "srrl"
    ledger: ClassVar = ("SRRL",)
    use: ClassVar = (
        "A teacher that ends in one linear classifier, which then judges the student's features by what it would "
        "make of them."
    )
    traps: ClassVar = (
        "It needs the weights of the teacher's classifier, so a teacher from an engine or a label cache cannot "
        "teach it.",
        "A port works on pooled vectors, where the official code projects the map.",
    )
    cost: ClassVar = "A 1x1 convolution to the teacher's channels, and the teacher's classifier once more."

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.features or self.logits):
            raise RecipeError("features: features and logits are both 0; give one of them a number above 0")

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads({self.student}, {self.teacher, "logits"}, weights={"teacher": {"classifier"}})

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.regressor import projection

        return projection(about.student[self.student][0], about.teacher[self.teacher][0])

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own = pooled(F.relu(helpers(as_map(student[self.student]))))
        features = (own - pooled(teacher[self.teacher])).square().mean(axis=1)
        logits = (classified(own, teacher.weights) - teacher["logits"]).square().mean(axis=1)
        return self.features * features + self.logits * logits
