"""Knowledge distillation: KL(teacher || student) at a temperature, times its square; no labels. arXiv:1503.02531

With t and s the softmaxes of the logits of teacher and student, divided by T:

    loss  T^2 sum over classes of t (ln t - ln s)

The paper has no code. What others compute is compared in the golden file: github.com/megvii-research/mdistiller and
github.com/HobbitLong/RepDistiller take T 4 with the weight 0.9 on CIFAR-100, beside 0.1 of the cross entropy, and the
former T 1 with 0.5 and 0.5 on ImageNet; github.com/open-mmlab/mmrazor takes T 1 with the weight 3. Where they differ:
github.com/yoshitomo-matsubara/torchdistill leaves out T^2 where it has no label term, and
github.com/facebookresearch/deit divides by the classes too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Loss, Paper, Reads
from ssld.losses.classes import softened
from ssld.losses.lazy import Tensor
from ssld.spec.ranges import Positive

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class KullbackLeibler(Loss):
    """T^2 sum over classes of t (ln t - ln s); s and t are softmaxes of logits / T.

    The square keeps the size of the gradients about the same for every temperature (section 2 of the paper).
    """

    temperature: Positive = 1.0

    reads: ClassVar = Reads(teacher={"logits"})
    paper: ClassVar = Paper("Distilling the Knowledge in a Neural Network", 2015, "1503.02531")
    golden: ClassVar = "kd"
    ledger: ClassVar = ("KD",)
    use: ClassVar = (
        "The first thing to try, and what every other method should be compared with: CIFAR-100 at temperature 4 with "
        "weight 0.9 beside 0.1 of the cross entropy, ImageNet at temperature 1 with equal weights, or alone."
    )
    traps: ClassVar = (
        "Some code leaves out the square of the temperature, or divides by the classes too: a weight does not carry "
        "over from one code base to another.",
        "A label cache that keeps some logits spreads the other probability evenly, and a temperature above 1 raises "
        "just that: keep more of them the higher it is.",
        "The row KD of the common benchmark (73.33 for resnet32x4 to resnet8x4) is copied into most papers; re-runs "
        "give 74.4 to 74.8, so that about one point of many a published gain is in the baseline.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        return softened(student["logits"], teacher["logits"], self.temperature)
