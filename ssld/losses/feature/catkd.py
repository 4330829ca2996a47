"""Class attention transfer: where the networks see each class. arXiv:2304.12777

The map of a class is the weight of that class, without the bias, on every pixel of the last map. Both networks' class
maps are averaged to `size` x `size` pixels and, where they are `normalised`, divided by their length over the pixels:

    loss = mean over the classes and pixels of (A_s - A_t)^2

Formula and constants are those of the official code (github.com/GzyAftermath/CAT-KD), which rebuilds its networks so
that they end in a 1x1 convolution without a bias; here the classifier's own weights are read, those of the student with
their gradient. CIFAR-100: size 2, normalised, weights from 0.7 to 600 for each pair of networks. ImageNet: size 4, not
normalised, weight 0.5 (ResNet34 to ResNet18); size 2, normalised, weight 10 (ResNet50 to MobileNetV1). Of the sizes the
averages of both networks are compared, so that their maps need not be equally large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Paper, Reads
from ssld.losses.classifier import class_maps
from ssld.losses.functions import unit
from ssld.losses.lazy import F, Tensor
from ssld.losses.maps import TapLoss
from ssld.spec.ranges import Count

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Catkd(TapLoss):
    """Mean squared gap of the class maps of both networks.

    size: pixels of a side that the maps are averaged to. normalised: whether each map is divided by its length. The
    taps are maps whose mean over the pixels is what the classifier takes.
    """

    size: Count = 2
    normalised: bool = True

    paper: ClassVar = Paper("Class Attention Transfer Based Knowledge Distillation", 2023, "2304.12777")
    golden: ClassVar = "catkd"
    use: ClassVar = (
        "Both networks end in a mean over the last map and one linear layer, and where a class is seen is worth "
        "more than how sure it is."
    )
    traps: ClassVar = (
        "Its weight was tuned for each pair, from 0.7 to 600 on CIFAR-100.",
        "A network with further layers between the last map and its classifier has no class maps and is refused.",
        "The bias of the classifiers is not part of the maps; the official code rebuilds its networks without one.",
    )
    cost: ClassVar = "The weight of each class is multiplied with the averaged maps of both networks."

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        weights = {"student": {"classifier"}, "teacher": {"classifier"}}
        return Reads(student={self.student}, teacher={self.teacher}, weights=weights)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        own, other = self._maps(student[self.student], student), self._maps(teacher[self.teacher], teacher)
        return (own - other).square().mean(axis=[1, 2])

    def _maps(self, features: Tensor, outputs: Outputs) -> Tensor:
        """Return the class maps, [N, classes, size^2].

        To average the map first gives the same as to average class maps, of which there are more.
        """
        maps = class_maps(F.adaptive_avg_pool2d(features, self.size), outputs.weights).flatten(2)
        return unit(maps) if self.normalised else maps
