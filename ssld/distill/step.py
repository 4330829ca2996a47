"""One training step as one layer: a student's outputs and the loss, with the layers that losses own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import Tensor, nn

from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Shape
from ssld.losses.objective import Objective


class Step(nn.Layer):
    """A batch -> (losses, parts for the log, logits): what data parallelism wraps, so that helpers are averaged too.

    helpers: name of a term -> the layers of its loss. They train beside the student and are no part of it. apart: the
    losses are two, of the task and of the distillation, else one.
    """

    def __init__(
        self,
        student: nn.Layer,
        objective: Objective,
        helpers: dict[str, nn.Layer] | None = None,
        apart: bool = False,
    ):
        super().__init__()
        self.student, self.objective, self.apart = student, objective, apart
        self.helpers = nn.LayerDict(helpers or {})
        weights = {of for term in objective.terms.values() for of in term.loss.reads.weights.get("student", ())}
        self._reads_classifier = "classifier" in weights

    def forward(self, batch: Batch) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor]:
        outputs = outputs_of(self.student, batch["image"], self.objective.student_reads)
        if self._reads_classifier:
            outputs.weights = classifier_weights(self.student)
        given = outputs, batch.get("teacher"), batch, dict(self.helpers.items())
        if self.apart:
            losses, parts = self.objective.apart(*given)
            return losses, parts, outputs["logits"]
        loss, parts = self.objective(*given)
        return (loss,), parts, outputs["logits"]

    def after_step(self, runtime: Any) -> None:
        """Tell the helpers that keep something of past batches that the optimiser has made its step."""
        for helper in self.helpers.values():
            if hasattr(helper, "after_step"):
                helper.after_step(runtime)


def outputs_of(network: nn.Layer, images: Tensor, names: Collection[str]) -> Outputs:
    """The outputs of these names, of images float32 [N, 3, S, S], in one forward pass: `logits` and taps.

    A network of one's own that has taps offers a method `outputs(images, taps)`, which returns a mapping with `logits`
    and the taps. RunError for one that has none.
    """
    taps = [name for name in names if name != "logits"]
    if not taps:
        return Outputs({"logits": network(images)})
    if not hasattr(network, "outputs"):
        what = f"a loss reads {taps[0]!r}, and this network gives logits alone"
        raise RunError(f"{type(network).__name__}: {what}; give it a method outputs(images, taps)")
    return Outputs(network.outputs(images, taps))


def classifier_weights(network: nn.Layer) -> dict[str, Tensor]:
    """`classifier.weight` [d, classes] (or [classes, d, 1, 1] of a convolution), and `classifier.bias` where there is
    one.
    """
    layer = network.classifier
    found = {"classifier.weight": layer.weight, "classifier.bias": getattr(layer, "bias", None)}
    return {name: value for name, value in found.items() if value is not None}


@contextmanager
def evaluating(network: nn.Layer) -> Iterator[None]:
    """Evaluation mode inside; afterwards every layer is in the mode that it was in."""
    modes = [(layer, layer.training) for layer in network.sublayers(include_self=True)]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


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


def check_gradients(named: Iterable[tuple[str, Any]], reached: Callable[[Any], bool], stage: str) -> None:
    """RunError for the first of the trained parameters, by name, that got no gradient: what trains nothing must not run
    for days.
    """
    for name, parameter in named:
        if not reached(parameter):
            what = f"no loss reaches the parameter {name!r}"
            raise RunError(f"stage {stage}: {what}; freeze it (stop_gradient), remove it, or add a loss that reads it")
