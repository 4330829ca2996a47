"""Cross entropy with the ground truth, with label smoothing and mixed batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import paddle
from paddle import Tensor

from ssld.errors import DataError, RecipeError
from ssld.losses._log_softmax import log_softmax
from ssld.losses.registry import LOSSES


@LOSSES.register
@dataclass(frozen=True)
class CrossEntropy:
    """-(1 - e) ln s[label] - e mean over classes of ln s, e = `smoothing` (arXiv:1512.00567), mean over the rows.

    A mixed batch has a second label `label_b`; `lam` (a number or [b]) is the share of the first. A row is unlabelled
    when one of its labels is -1. `unlabelled`: "error" refuses such rows, "ignore" takes the mean over the others, and
    0 for a batch without any.

    Refusing on a GPU must not wait for the device in every step: there such a row makes the loss infinite and its
    gradients NaN, which stops the run; it never counts as class 0. On a CPU it is a DataError that names the image.
    """

    smoothing: float = 0.0
    unlabelled: Literal["error", "ignore"] = "error"

    needs_teacher: ClassVar[bool] = False
    needs_label: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise RecipeError(f"loss 'ce': smoothing {self.smoothing} is not in [0, 1); 0.1 is usual")

    def __call__(self, student: Tensor, teacher: Tensor | None, batch: Mapping[str, Any]) -> Tensor:
        log_s = log_softmax(student)
        rows, labelled = self._rows(log_s, batch, "label")
        if "label_b" in batch:
            rows_b, labelled_b = self._rows(log_s, batch, "label_b")
            rows, labelled = batch["lam"] * rows + (1 - batch["lam"]) * rows_b, labelled * labelled_b
        if self.unlabelled == "ignore":
            return (rows * labelled).sum() / labelled.sum().clip(min=1)
        return (rows / labelled).mean()  # x / 0 = infinity

    def _rows(self, log_s: Tensor, batch: Mapping[str, Any], key: str) -> tuple[Tensor, Tensor]:
        """Loss of each row [b], and 1.0 where it has a label, 0.0 where not [b]."""
        label = batch[key]
        if not _on_gpu(label):
            self._check(label, log_s.shape[-1], batch)
        truth = paddle.take_along_axis(log_s, label.clip(min=0).unsqueeze(-1), axis=-1).squeeze(-1)
        rows = -(1 - self.smoothing) * truth - self.smoothing * log_s.mean(axis=-1)
        return rows, (label >= 0).astype(rows.dtype)

    def _check(self, label: Tensor, classes: int, batch: Mapping[str, Any]) -> None:
        values = label.numpy()
        lowest = 0 if self.unlabelled == "error" else -1
        wrong = ((values < lowest) | (values >= classes)).nonzero()[0]
        if wrong.size == 0:
            return
        row, value = int(wrong[0]), int(values[wrong[0]])
        image = f"image {int(batch['index'][row])}" if "index" in batch else f"row {row} of the batch"
        if value == -1:
            raise DataError(f"{image}: has no label; drop the loss ce here or set its unlabelled: ignore")
        raise DataError(f"{image}: label {value} is not in 0..{classes - 1}; correct the list file or `classes`")


def _on_gpu(tensor: Tensor) -> bool:
    return bool(tensor.place.is_gpu_place())
