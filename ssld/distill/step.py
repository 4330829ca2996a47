"""One training step as one layer: a student's outputs and the loss, with the layers that losses own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import paddle
from paddle import Tensor, nn

from ssld.errors import RunError
from ssld.interfaces import Batch
from ssld.losses.base import Shape
from ssld.losses.objective import Objective
from ssld.models import classifier_of, evaluating
from ssld.models import outputs_of as outputs_of
from ssld.models.taps import called


class Step(nn.Layer):
    """A batch -> (loss, parts for the log, logits): what data parallelism wraps, so that helpers are averaged too.

    helpers: name of a term -> the layers of its loss. They train beside the student and are no part of it.
    """

    def __init__(self, student: nn.Layer, objective: Objective, helpers: dict[str, nn.Layer] | None = None):
        super().__init__()
        self.student, self.objective = student, objective
        self.helpers = nn.LayerDict(helpers or {})
        weights = {of for term in objective.terms.values() for of in term.loss.reads.weights.get("student", ())}
        self._reads_classifier = "classifier" in weights

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        outputs = outputs_of(self.student, batch["image"], self.objective.student_reads)
        if self._reads_classifier:
            outputs.weights = classifier_weights(self.student)
            if not outputs.weights:
                what = "a loss reads the weights of its classifier, and it does not say which layer that is"
                raise RunError(f"{called(self.student)}: {what}; name it with taps: {{classifier: PATH}}")
        loss, parts = self.objective(outputs, batch.get("teacher"), batch, dict(self.helpers.items()))
        return loss, parts, outputs["logits"]

    def after_step(self, runtime: Any) -> None:
        """Tell the helpers that keep something of past batches that the optimiser has made its step."""
        for helper in self.helpers.values():
            if hasattr(helper, "after_step"):
                helper.after_step(runtime)


def classifier_weights(network: nn.Layer) -> dict[str, Tensor]:
    """`classifier.weight` [d, classes] (or [classes, d, 1, 1] of a convolution), and `classifier.bias` where there is
    one. Empty where the network does not say which layer its classifier is, or that is no single layer with weights.
    """
    layer = classifier_of(network)
    if layer is None or getattr(layer, "weight", None) is None:
        return {}
    found = {"classifier.weight": layer.weight, "classifier.bias": getattr(layer, "bias", None)}
    return {name: value for name, value in found.items() if value is not None}


@paddle.no_grad()
def shapes(network: nn.Layer, names: Collection[str], size: int) -> dict[str, Shape]:
    """The shape of each of these outputs, without the batch, for images of `size` pixels a side."""
    with evaluating(network):
        found = outputs_of(network, paddle.zeros([1, 3, size, size]), names)
    return {name: tuple(found[name].shape[1:]) for name in names}


def check_helpers(student: nn.Layer, helpers: dict[str, nn.Layer]) -> None:
    """Two parameters of one name would share the state of the optimiser in silence: RunError names them."""
    seen = {parameter.name for parameter in student.parameters()}
    for term, layer in helpers.items():
        for parameter in layer.parameters():
            if parameter.name in seen:
                what = f"a layer of it has a parameter named {parameter.name!r}, as another layer has"
                raise RunError(f"loss {term}: {what}; make its layers inside `helpers`")
            seen.add(parameter.name)


def check_gradients(named: Callable[[], Iterator[tuple[str, Any]]], stage: str) -> None:
    """RunError for the first of the trained parameters that got no gradient: what trains nothing must not run for
    days.
    """
    for name, parameter in named():
        if parameter.grad is None:
            what = f"no loss reaches the parameter {name!r}"
            raise RunError(f"stage {stage}: {what}; freeze it (stop_gradient), remove it, or add a loss that reads it")
