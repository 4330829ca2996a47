"""One training step as one layer: a student's outputs and the loss, with the layers that losses own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import Tensor, nn

from ssld.errors import RunError
from ssld.interfaces import Batch, Outputs
from ssld.losses.base import Shape
from ssld.losses.objective import Objective


class Step(nn.Layer):
    """A batch -> (loss, parts for the log, logits): what data parallelism wraps, so that helpers are averaged too.

    helpers: name of a term -> the layers of its loss. They train beside the student and are no part of it.
    """

    def __init__(self, student: nn.Layer, objective: Objective, helpers: dict[str, nn.Layer] | None = None):
        super().__init__()
        self.student, self.objective = student, objective
        self.helpers = nn.LayerDict(helpers or {})
        self._weights = {of for term in objective.terms.values() for of in term.loss.reads.weights.get("student", ())}

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        outputs = outputs_of(self.student, batch["image"], self.objective.student_reads)
        outputs.weights = weights_of(self.student, self._weights)
        loss, parts = self.objective(outputs, batch.get("teacher"), batch, dict(self.helpers.items()))
        return loss, parts, outputs["logits"]

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


def readable(network: nn.Layer) -> dict[str, nn.Layer]:
    """The layers whose weights a loss may read, by name: `classifier`, and `stage3.norm` for the batch norm that makes
    the tap `stage3.pre`. A network of one's own offers them as `classifier` and `norms`."""
    classifier = {"classifier": network.classifier} if hasattr(network, "classifier") else {}
    return {**classifier, **{f"{stage}.norm": norm for stage, norm in getattr(network, "norms", {}).items()}}


def weights_of(network: nn.Layer, names: Collection[str]) -> dict[str, Tensor]:
    """The weights of the layers of these names: `classifier.weight` [d, classes] (or [classes, d, 1, 1] of a
    convolution), `stage3.norm.weight` [C] and so on, and `.bias` where there is one. RunError for a layer that the
    network does not have."""
    layers = readable(network) if names else {}
    for name in names:
        if name not in layers:
            what = f"a loss reads the weights of {name!r}, which this network does not have"
            have = f"it has {', '.join(layers)}" if layers else "it has none that can be read"
            raise RunError(f"{type(network).__name__}: {what}; {have}")
    both = {f"{name}.{kind}": getattr(layers[name], kind, None) for name in names for kind in ("weight", "bias")}
    return {name: value for name, value in both.items() if value is not None}


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


def check_gradients(named: Callable[[], Iterator[tuple[str, Any]]], stage: str) -> None:
    """RunError for the first of the trained parameters that got no gradient: what trains nothing must not run for
    days.
    """
    for name, parameter in named():
        if parameter.grad is None:
            what = f"no loss reaches the parameter {name!r}"
            raise RunError(f"stage {stage}: {what}; freeze it (stop_gradient), remove it, or add a loss that reads it")
