"""CA-MKD: of several teachers the one that knows the label of an image better weighs more. arXiv:2201.00007

With CE_m the cross entropy of teacher m with the label at temperature 1, and M teachers:

    w_m   (1 - softmax over the teachers of CE_m) / (M - 1)
    loss  (sum over m of w_m (T^2 KL(p_m || p_s) + features mean over the map of (r_m(F_s) - F_m)^2)) / M

r_m is a trained layer that brings the student's map to the shape of that of the teacher, see
`losses/layers/regressor.py`. The weights sum to 1; the official code (github.com/Rorozhl/CA-MKD) divides by M once
more, so that the loss has 1 / M of the scale of `aver`. T 4 and features 50 are those of the code, beside a cross
entropy of weight 1; the maps are the last ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Labelled, Paper, Reads
from ssld.losses.classes import at, softened
from ssld.losses.functions import log_softmax
from ssld.losses.lazy import F, Tensor, paddle
from ssld.losses.several import of_teachers
from ssld.spec.ranges import Factor, Positive, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class CaMkd(Labelled):
    """Logits and maps of several teachers, weighed for each image by how well they know its label.

    features: the weight of the maps beside the logits; 0: none are read. student, teacher: the taps of the maps, that
    of the teacher being one that every teacher gives.
    """

    temperature: Positive = 4.0
    features: Factor = 50.0
    student: Text = "map"
    teacher: Text = "map"

    paper: ClassVar = Paper("Confidence-Aware Multi-Teacher Knowledge Distillation", 2022, "2201.00007")
    golden: ClassVar = "multi_teacher"
    use: ClassVar = "Several teachers of unequal worth, and images with labels that say which of them to believe."
    traps: ClassVar = (
        "The official code divides by the number of teachers once more, so that its logits have 1 / M of the "
        "scale of `aver`: a gain over `aver` at equal weights holds this factor too.",
        "A teacher that learnt the training images by heart is always believed.",
    )
    cost: ClassVar = "A convolution for each teacher makes all channels of its map."

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        maps = ({self.student}, {self.teacher}) if self.features else (set(), set())
        return Reads({"logits"} | maps[0], {"logits"} | maps[1], {"label"}, each=True)

    def helpers(self, about: About) -> nn.Layer | None:
        if not self.features:
            return None
        from ssld.losses.layers.regressor import Regressor

        own = about.student[self.student]
        return paddle.nn.LayerDict({name: Regressor(own, shapes[self.teacher]) for name, shapes in about.each.items()})

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        logits = of_teachers(teacher)
        losses = paddle.stack([softened(student["logits"], z_t, self.temperature) for z_t in logits])
        if self.features:
            maps = {name: helpers[name](student[self.student]) for name in teacher.each}
            gaps = [(maps[name] - one[self.teacher]).square().flatten(1) for name, one in teacher.each.items()]
            losses = losses + self.features * paddle.stack([gap.mean(axis=1) for gap in gaps])
        return (label_weights(paddle.stack(logits), batch["label"]) * losses).mean(axis=0)


def label_weights(teachers: Tensor, label: Tensor) -> Tensor:
    """Return w_m of each image: logits [M, N, classes], int64 [N] -> [M, N]."""
    wrong = paddle.stack([-at(log_softmax(z_t), label) for z_t in teachers])
    return (1 - F.softmax(wrong, axis=0)) / (len(teachers) - 1)
