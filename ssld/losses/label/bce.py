"""Binary cross entropy: every class asks for itself whether it is in the image. arXiv:2110.00476

With z the logits of the student, C classes and y the label, softened by the smoothing:

    loss  - 1 / C sum over classes of y ln sigmoid(z) + (1 - y) ln sigmoid(-z)

The mean over the classes is that of github.com/huggingface/pytorch-image-models, the code of the paper. Where images
are mixed that code keeps the shares of both labels for VanillaKD and the recipe A1, as here; the paper counts each
class as wholly there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Labelled, Paper, Reads, Without
from ssld.losses.classes import at
from ssld.losses.lazy import F, Tensor
from ssld.spec.ranges import Decay

if TYPE_CHECKING:
    from paddle import nn


@dataclass(frozen=True)
class BinaryCrossEntropy(Labelled):
    """-mean over classes of y ln sigmoid(z) + (1 - y) ln sigmoid(-z), y the label softened by e = `smoothing`.

    Softened means 1 - e + e / C for the class of the label and e / C for the C - 1 others. Source: arXiv:2110.00476,
    section 3.1, and `BinaryCrossEntropy` of huggingface/pytorch-image-models, which takes the mean over the classes.
    """

    smoothing: Decay = 0.0

    reads: ClassVar = Reads(batch={"label"})
    mixed: ClassVar = "both"
    paper: ClassVar = Paper("ResNet strikes back: An improved training procedure in timm", 2021, "2110.00476")
    golden: ClassVar = Without("PyTorch has it built in; a test compares ours with NumPy and with numbers from there.")
    use: ClassVar = (
        "In the place of the cross entropy where images are mixed: an image of two classes has both of them."
    )
    traps: ClassVar = (
        "Its value is a mean over the classes, so that it is smaller than the cross entropy by the order of their "
        "number; it was published with LAMB, for which the size of a gradient does not matter.",
        "Paper and code differ: the paper counts each class of a mixed image as wholly there, the code of its recipe "
        "A1 and of VanillaKD keeps the shares, as here.",
    )

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer | None) -> Tensor:
        logits = student["logits"]
        classes = logits.shape[-1]
        present = (1 - self.smoothing) * at(logits, batch["label"]) / classes
        return F.softplus(logits).mean(axis=-1) - present - self.smoothing * logits.mean(axis=-1) / classes
