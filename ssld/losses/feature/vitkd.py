"""ViTKD: feature distillation between vision transformers, by mimicking and by generation. arXiv:2209.02432

Tokens of a layer are [N, L, D], without the class token. Two early layers of the student mimic those of the teacher,
each through a linear layer; the last layer's tokens, through one more, are masked and generated anew:

    mimic    = a sum over the two layers, L and D of (linear(S) - T)^2
    masked m = the tokens whose random number is not among the L (1 - share) smallest; they become one trained token
    generate = b / share sum over L and D of m (conv3x3(relu(conv3x3(tokens as a square map))) - T)^2
    loss     = mimic + generate

Formulas and constants are those of the official code (github.com/yzd-v/cls_KD): a = 3e-5, b = 3e-6, share 0.5. Linear
layers are left out where the widths agree. The numbers of an image follow from the seed, the step and the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper, Reads
from ssld.losses.lazy import Tensor
from ssld.losses.maps import PairsLoss
from ssld.spec.ranges import Factor, Range, Text

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Vitkd(PairsLoss):
    """a times the gap of the early layers + b times the gap of the generated tokens of the last one.

    student, teacher: taps that give tokens [N, L, D], the early layers first and the one that is generated last;
    without `teacher` they are those of the student. mimic, generate: a and b. masked: the share of masked tokens.
    """

    student: tuple[Text, ...] = ("block1", "block2", "block12")
    mimic: Factor = 3e-5
    generate: Factor = 3e-6
    masked: Annotated[float, Range(above=0, below=1)] = 0.5

    paper: ClassVar = Paper("ViTKD: Practical Guidelines for ViT Feature Knowledge Distillation", 2022, "2209.02432")
    golden: ClassVar = "vitkd"
    ledger: ClassVar = ("ViTKD", "ViTKD+NKD", "WTTM+ViTKD")
    use: ClassVar = "A transformer that teaches a transformer with the same number of tokens."
    traps: ClassVar = (
        "The networks of this package have no tokens: it is for networks of one's own.",
        "It is published beside `nkd` too, and those rows hold both.",
    )
    cost: ClassVar = (
        "Linear layers of the tokens of three blocks, and two 3x3 convolutions of as many channels as the teacher has."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.student) < 2:
            raise RecipeError("student: there is only one tap; give an early layer and a last one at least")
        if not (self.mimic or self.generate):
            raise RecipeError("mimic: mimic and generate are both 0; give one of them a number above 0")

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        return Reads(student=self.student, teacher=self.teacher_taps, batch={"index"})

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.vitkd import Tokens

        own, other = [about.student[tap] for tap in self.student], [about.teacher[tap] for tap in self.teacher_taps]
        return Tokens(own, other, about.seed)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        *early, last = [teacher[tap] for tap in self.teacher_taps]
        mimicked = helpers.mimic([student[tap] for tap in self.student[:-1]])
        gap = sum((own - other).square().sum(axis=[1, 2]) for own, other in zip(mimicked, early, strict=True))
        masked = helpers.mask(helpers.draw(batch["index"], batch["step"]), self.masked).astype(last.dtype)
        generated = helpers.generate(student[self.student[-1]], masked)
        regained = (masked * (generated - last).square()).sum(axis=[1, 2])
        return self.mimic * gap + self.generate / self.masked * regained
