"""Distillation meets self-supervision: turned images are matched with their plain ones, as the teacher does it.
arXiv:2006.07114

The outputs have 4 rows for each image of the batch: row 4i is the plain image, the three rows after it are turned or
otherwise changed; labels are one an image. In a recipe they are of a view of rotations: {data: {views: {turned:
rotations}}, loss: {sskd: {student_view: turned, teacher_view: turned}}}. With a head g of each network on its pooled
vectors, and x_aj the cosine of g(row a) and g(plain row j), a a changed row, j an image:

    ce   cross entropy of the plain rows
    kl   T^2 KL(teacher || student) of the plain rows
    tf   T_tf^2 KL(teacher || student) of changed rows
    ss   T_ss^2 KL of softmax(x_t / T_ss) against softmax(x_s / T_ss) over the images, of changed rows

tf keeps the rows that the teacher gets right and, of its errors, the share `keep_tf` in which the label ranks highest;
ss keeps those whose own image is the nearest and the share `keep_ss` of the others, likewise; both are means over what
is kept. Weights 0.1, 0.9, 2.7 and 10, temperatures 4, 4 and 0.5 and shares 1 and 0.75 are those of the official code
(github.com/xuguodong03/SSKD). A head is a linear layer, ReLU, and a linear layer.

What differs: the official code trains the head of the teacher for 60 epochs before, by telling which image a turned row
belongs to. Here it learns so beside the student, by the term `contrast` x cross entropy of softmax(x_t / T_ss), which
reaches the teacher's head alone; with `contrast: 0` the teacher has no head, and its pooled vectors are compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from ssld.errors import RecipeError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import About, Labelled, Paper, Reads
from ssld.losses.classes import at, softened
from ssld.losses.functions import log_softmax, unit
from ssld.losses.lazy import Tensor, paddle
from ssld.spec.ranges import Factor, Positive, Share, Text

if TYPE_CHECKING:
    from paddle import nn

ROWS = 4  # of an image: plain, and changed in three ways


@dataclass(frozen=True)
class Sskd(Labelled):
    """ce CE + kl KL of plain rows + tf KL of changed rows + ss KL of their similarities + contrast of a teacher's head.

    ce, kl, tf, ss, contrast: weights. temperature, temperature_tf, temperature_ss: of kl, tf, ss. keep_tf, keep_ss:
    shares of the teacher's errors that are kept. student, teacher: names of taps that give vectors. unlabelled: every
    image needs a label, its own ("error") or the teacher's ("teacher_argmax"), because they say which rows are kept.
    One number for the micro-batch of a rank.
    """

    ce: Factor = 0.1
    kl: Factor = 0.9
    tf: Factor = 2.7
    ss: Factor = 10.0
    contrast: Factor = 1.0
    temperature: Positive = 4.0
    temperature_tf: Positive = 4.0
    temperature_ss: Positive = 0.5
    keep_tf: Share = 1.0
    keep_ss: Share = 0.75
    student: Text = "embedding"
    teacher: Text = "embedding"
    unlabelled: Literal["error", "teacher_argmax"] = field(default="error", kw_only=True)

    views: ClassVar = ROWS
    coupled: ClassVar = True
    paper: ClassVar = Paper("Knowledge Distillation Meets Self-Supervision", 2020, "2006.07114")
    golden: ClassVar = "sskd"
    ledger: ClassVar = ("SSKD",)
    use: ClassVar = (
        "Small data sets, where four views of an image and what they have in common teach more than one label."
    )
    traps: ClassVar = (
        "It compares the images of one micro-batch of one rank; `accumulate` and ranks change its value.",
        "The student sees four times the images: compare it with other losses at an equal number of passes.",
        "It needs a view with four rows an image: `data.views: {turned: rotations}`.",
        "Published rows use teachers of their own, which are stronger than those of the common benchmark, and plain "
        "distillation in addition.",
    )
    cost: ClassVar = "Both networks see each image in four rotations, so their passes have four times the rows."

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.ce or self.kl or self.tf or self.ss):
            raise RecipeError("ce: ce, kl, tf and ss are all 0; give one of them a number above 0")

    @property
    def reads(self) -> Reads:  # type: ignore[override]
        names = {"logits", self.student}, {"logits", self.teacher}
        return Reads(student=names[0], teacher=names[1], batch={"label"})

    def helpers(self, about: About) -> nn.Layer:
        from ssld.losses.layers.embed import Heads

        return Heads(about.student[self.student], about.teacher[self.teacher], self.contrast > 0)

    def __call__(self, student: Outputs, teacher: Outputs, batch: Batch, helpers: nn.Layer) -> Tensor:
        label = batch["label"]
        check_rows(student["logits"].shape[0], label.shape[0])
        plain_s, changed_s = _split(student["logits"])
        plain_t, changed_t = _split(teacher["logits"])
        truth = -at(log_softmax(plain_s), label).mean()
        kl = softened(plain_s, plain_t, self.temperature).mean()
        repeated = label.repeat_interleave(ROWS - 1)
        tf = _kept(softened(changed_s, changed_t, self.temperature_tf), changed_t, repeated, self.keep_tf)
        x_s, x_t = _cosines(helpers.student(student[self.student])), _cosines(helpers.teacher(teacher[self.teacher]))
        own = paddle.arange(label.shape[0]).repeat_interleave(ROWS - 1)
        target = x_t.detach()
        ss = _kept(softened(x_s, target, self.temperature_ss), target, own, self.keep_ss)
        total = self.ce * truth + self.kl * kl + self.tf * tf + self.ss * ss
        if not self.contrast:
            return total
        nearest = at(log_softmax(x_t / self.temperature_ss), own)
        return total - self.contrast * nearest.mean()


def check_rows(rows: int, images: int) -> None:
    """Raise RecipeError unless there are four rows of outputs for each image."""
    if rows != ROWS * images:
        what = f"{rows} rows of outputs for {images} images"
        raise RecipeError(f"loss sskd: {what}; it needs {ROWS} for each, the plain one first, in one pass")


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Split [4n, d] into the plain rows [n, d] and the changed rows [3n, d]."""
    grouped = x.reshape([-1, ROWS, x.shape[-1]])
    return grouped[:, 0], grouped[:, 1:].reshape([-1, x.shape[-1]])


def _cosines(vectors: Tensor) -> Tensor:
    """Return the cosines of each changed row with the plain row of each image, [4n, d] -> [3n, n]."""
    plain, changed = _split(unit(vectors))
    return changed @ plain.T


def _kept(values: Tensor, scores: Tensor, truth: Tensor, share: float) -> Tensor:
    """Return the mean of the values [m] of right rows and of the best `share` of the wrong ones, rounded down.

    scores: float [m, k]. truth: int64 [m]; the rank of its score is how wrong a row is. Of rows that are equally wrong
    the earlier ones are kept.
    """
    rank = (scores > at(scores, truth).unsqueeze(-1)).astype("int64").sum(axis=-1)
    order = rank * rank.shape[0] + paddle.arange(rank.shape[0])
    before = (order.unsqueeze(0) < order.unsqueeze(1)).astype("int64").sum(axis=-1)
    wrong = (rank > 0).astype("int64").sum()
    count = rank.shape[0] - wrong + (wrong.astype("float64") * share).floor().astype("int64")
    mask = (before < count).astype(values.dtype)
    return (values * mask).sum() / mask.sum().clip(min=1)
