"""Knowledge review: deeper maps of the student, fused step by step, match shallower ones of the teacher.
arXiv:2104.09044

A chain of fusions runs from the deepest tap, which is the pooled vector as a map of one pixel, to the shallowest. Each
brings the student's map to `width` channels (1x1 convolution and batch norm); all but the first weigh it and what the
fusion before handed on, enlarged by nearest neighbours, with two maps of weights between 0 and 1 (1x1 convolution and
sigmoid of both together), and add them. The result is enlarged to the teacher's size, handed on, and becomes the
teacher's width by a 3x3 convolution and batch norm: x. The gap of each level sees several scales:

    level = (M(H) + sum of w_k M(k) over k in 4, 2, 1 with k < H) / (1 + sum of w_k),    w = 1/2, 1/4, 1/8 as they come

M(k) is the mean squared gap of x and F_t averaged to k x k pixels, M(H) that of the maps themselves; the loss is the
sum over the levels. Formulas and constants are those of the official code (github.com/dvlab-research/ReviewKD) and of
github.com/megvii-research/mdistiller: weight 0.6 to 8 on CIFAR-100 with a warm-up over 20 epochs, 1 (ResNet18) or 8
(MobileNetV1) on ImageNet without one. The teacher's maps are those before the activation, the student's those after it
on CIFAR-100, before it on ImageNet. The official `width` for MobileNetV1 is 256; mdistiller ignores its own setting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import F, Tensor
from ssld.losses.maps import FOUR, FOUR_BEFORE, PairsLoss, as_map
from ssld.losses.stages import AFTER, BEFORE, instead_of
from ssld.spec.ranges import Count, Text

if TYPE_CHECKING:
    from paddle import nn

SCALES = (4, 2, 1)  # pixels of a side


@dataclass(frozen=True)
class Reviewkd(PairsLoss):
    """Sum over the levels of the mean squared gap at several scales.

    student, teacher: taps from shallow to deep, vectors being maps of one pixel; without them every stage, of the
    teacher before its last activation, and `embedding`. width: channels of the fused maps; without it those of the
    student's deepest tap, 512 at most.
    """

    student: tuple[Text, ...] | None = instead_of((*FOUR, "embedding"))
    teacher: tuple[Text, ...] | None = instead_of((*FOUR_BEFORE, "embedding"))
    width: Count | None = None

    kinds: ClassVar = (AFTER, BEFORE)
    also: ClassVar = ("embedding",)

    paper: ClassVar = Paper("Distilling Knowledge via Knowledge Review", 2021, "2104.09044")
    golden: ClassVar = "reviewkd"
    ledger: ClassVar = ("ReviewKD", "KR (ReviewKD)")
    use: ClassVar = (
        "Every stage of both networks is at hand: deep maps of the student help its shallow ones to match the teacher."
    )
    traps: ClassVar = (
        "The teacher's maps are those before the activation. The student's are those after it on CIFAR-100 and "
        "before it on ImageNet.",
        "Its weight was tuned for each pair, from 0.6 to 8 on CIFAR-100.",
        "The fusions can have more parameters than a small student, and cost accordingly in each step.",
        "For MobileNetV1 the official width is 256; a port ignores its own setting and takes 512.",
    )
    cost: ClassVar = (
        "Each level has a 3x3 convolution of as many channels as the teacher's map has, at the size of the "
        "teacher's map."
    )

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.reviewkd import Review

        own, other = (
            [about.student[tap] for tap in self.student_taps],
            [about.teacher[tap] for tap in self.teacher_taps],
        )
        return Review(own, other, self.width or min(512, own[-1][0]))

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        fused = helpers([as_map(student[tap]) for tap in self.student_taps])
        return sum(level_gap(x, as_map(teacher[tap])) for x, tap in zip(fused, self.teacher_taps, strict=True))


def level_gap(x: Tensor, target: Tensor) -> Tensor:
    """Return the gap of one level, [N, C, H, W] twice -> [N]."""
    total, weight, weights = (x - target).square().mean(axis=[1, 2, 3]), 1.0, 1.0
    for size in SCALES:
        if size < x.shape[2]:
            weight /= 2
            weights += weight
            gap = F.adaptive_avg_pool2d(x, size) - F.adaptive_avg_pool2d(target, size)
            total = total + weight * gap.square().mean(axis=[1, 2, 3])
    return total / weights
