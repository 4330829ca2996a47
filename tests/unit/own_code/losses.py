"""Losses of a user's own."""

from dataclasses import dataclass
from typing import ClassVar

import paddle.nn.functional as F
from paddle import nn

from ssld.losses import Loss, Reads


@dataclass(frozen=True)
class Gap(Loss):
    """Squared gaps of the logits and of the embeddings, the student's through a trained layer."""

    share: float = 0.5

    reads: ClassVar = Reads(student={"logits", "embedding"}, teacher={"logits", "embedding"})

    def helpers(self, about):
        return nn.Linear(*about.student["embedding"], *about.teacher["embedding"])

    def __call__(self, student, teacher, batch, helpers):
        logits = (student["logits"] - teacher["logits"]).square().mean(axis=-1)
        vectors = (helpers(student["embedding"]) - teacher["embedding"]).square().mean(axis=-1)
        return self.share * logits + (1 - self.share) * vectors


@dataclass(frozen=True)
class Labelled(Loss):
    reads: ClassVar = Reads(batch={"label"})

    def __call__(self, student, teacher, batch, helpers):
        return F.cross_entropy(student["logits"], batch["label"], reduction="none")
