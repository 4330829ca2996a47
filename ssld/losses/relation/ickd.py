"""Inter-channel correlation: the channels of a map belong together as they do in the teacher. ICCV 2021

F [C, P] is the map of an image with its P places in one row, of the student through a convolution without bias and a
batch norm to the teacher's channels. G = F F^T [C, C], each row divided by its length. The loss of an image is the sum
over C^2 of (G_s - G_t)^2, over C: of each row, 2 less twice the cosine of the two rows.

That is the official code for CIFAR-100 (github.com/ADLab-AutoDrive/ICKD): a convolution of 1 x 1, the last map, weight
2.5 beside plain distillation. Its branch for ImageNet divides by the number of images once more (`batch_again: true`)
and takes the weight 500; a port (github.com/yoshitomo-matsubara/torchdistill) has that form with a convolution of
3 x 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Paper
from ssld.losses.lazy import Tensor
from ssld.losses.maps import TapLoss

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class Ickd(TapLoss):
    """Sum over C^2 of (unit rows of F_s F_s^T - unit rows of F_t F_t^T)^2, over C.

    kernel: of the convolution. batch_again: divide by the images of the micro-batch once more, as the official code
    does on ImageNet. student, teacher: names of taps that give maps, which may differ in size.
    """

    kernel: Literal[1, 3] = 1
    batch_again: bool = False
    paper: ClassVar = Paper("Exploring Inter-Channel Correlation for Diversity-preserved Knowledge Distillation", 2021)
    golden: ClassVar = "ickd"
    ledger: ClassVar = ("ICKD", "ICKD-C", "ICKD-C(w/o KL)", "ICKD-C(Ours)")
    use: ClassVar = (
        "Maps of different sizes and channels are compared image by image. It is published as a companion of plain "
        "distillation (`kl`), not alone."
    )
    traps: ClassVar = (
        "The two official forms differ by a factor of the batch size, so a weight belongs to one of them.",
        "The recipe for ImageNet was never released; a much lower number that is sometimes quoted comes from a guessed "
        "optimiser of a port.",
    )
    cost: ClassVar = "A 1x1 convolution to the teacher's channels, and products of all pairs of channels of both maps."

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.embed import EmbedMap

        return EmbedMap(about.student[self.student], about.teacher[self.teacher], self.kernel)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        own, other = helpers(student[self.student]).flatten(2), teacher[self.teacher].flatten(2)
        value = _gap(own, other).sum(axis=1) / own.shape[1]
        return value / own.shape[0] if self.batch_again else value


def _gap(a: Tensor, b: Tensor) -> Tensor:
    """Return the squared gap of each row of G: [N, C, P], [N, C, Q] -> [N, C].

    A row of G is a_c A^T. Its length and its product with a row of the other network follow from matrices [P, P] and
    [P, Q], so that nothing of C^2 numbers is made.
    """
    squares = _product(a, a), _product(b, b)
    some_a, some_b = ((square > 1e-24).astype(a.dtype) for square in squares)
    over_a, over_b = (square.clip(min=1e-24).rsqrt() for square in squares)
    return some_a + some_b - 2 * some_a * some_b * _product(a, b) * over_a * over_b


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of a row of A A^T and the same row of B B^T: [N, C, P], [N, C, Q] -> [N, C]."""
    return ((a @ (a.transpose([0, 2, 1]) @ b)) * b).sum(axis=2)
