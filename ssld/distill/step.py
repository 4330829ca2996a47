"""Compute one training step as one layer: the outputs of a student and the loss, with the layers that losses own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import paddle
from paddle import Tensor, nn

from ssld.errors import RunError, call_own
from ssld.interfaces import FIRST_VIEW, Batch, Outputs, Parameter, images_of
from ssld.losses.base import Shape
from ssld.losses.objective import Objective
from ssld.losses.views import by_view, named, split
from ssld.models import Classifier, classifier_of, evaluating, outputs_of
from ssld.models.taps import called
from ssld.runtime import Runtime


class Step(nn.Layer):
    """Map a batch to (losses, parts for the log, logits).

    Data parallelism wraps this layer, so that helpers are averaged too. `helpers` maps the name of a term to the layers
    of its loss. They train beside the student and are no part of it. With `apart` there are two losses, of the task and
    of the distillation; otherwise there is one. `views` has the names of the further views of the stage. The student
    sees each view that a loss reads in a pass of its own, the first one first, and the logits are those of the images
    in the first of them.
    """

    def __init__(
        self,
        student: nn.Layer,
        objective: Objective,
        helpers: dict[str, nn.Layer] | None = None,
        apart: bool = False,
        views: Collection[str] = (),
    ):
        super().__init__()
        self.student, self.objective, self.apart = student, objective, apart
        self.passes = by_view(objective.student_reads, views)
        self.helpers = nn.LayerDict(helpers or {})
        self._weights = {of for term in objective.terms.values() for of in term.loss.reads.weights.get("student", ())}

    def forward(self, batch: Batch) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor]:
        return self.compared(self.outputs(batch), batch)

    def outputs(self, batch: Batch) -> Outputs:
        """Return the outputs of the student that the losses read, with the weights that they read."""
        outputs = outputs_of_views(self._outputs, batch, self.passes)
        outputs.weights = weights_of(self.student, self._weights)
        return outputs

    def compared(self, outputs: Outputs, batch: Batch) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor]:
        """Return what a call returns, from the outputs of the student for a batch."""
        arguments = outputs, batch.get("teacher"), batch, dict(self.helpers.items())
        logits, images = outputs[self.objective.logits], len(batch["label"])
        if len(logits) != images:  # of a view of rotations the images themselves
            logits = logits[:: len(logits) // images]
        if self.apart:
            losses, parts = self.objective.apart(*arguments)
            return losses, parts, logits
        loss, parts = self.objective(*arguments)
        return (loss,), parts, logits

    def _outputs(self, images: Tensor, names: Collection[str]) -> Outputs:
        if isinstance(self.student, Classifier):
            return outputs_of(self.student, images, names)
        outputs = call_own(outputs_of, f"{called(self.student)}: a training step", self.student, images, names)
        if not isinstance(outputs["logits"], Tensor) or outputs["logits"].ndim != 2:
            what = f"gives a {type(outputs['logits']).__name__} for logits while it trains"
            raise RunError(f"{called(self.student)}: {what}; return one tensor [N, classes] in training mode too")
        return outputs

    def after_step(self, runtime: Runtime) -> None:
        """Tell the helpers that keep something of past batches that the optimiser has made its step."""
        self.objective.after_step(dict(self.helpers.items()), runtime)


class Together(nn.Layer):
    """Compute one step of several networks that train together, as one layer that data parallelism wraps.

    `first` is the step of the network that the stage hands on, and `peers` maps names to the steps of the others. In
    the loss of each network a batch has the outputs of all the others under `peers`, with their gradient. The losses of
    all networks are summed. What the log gets of a peer has its name before it, such as `second/loss/dml`, and its
    logits are `second/logits`.
    """

    def __init__(self, first: Step, peers: Mapping[str, Step]):
        super().__init__()
        self.first, self.peers = first, nn.LayerDict(dict(peers))

    def forward(self, batch: Batch) -> tuple[tuple[Tensor, ...], dict[str, Tensor], Tensor]:
        steps: dict[str, Step] = {FIRST: self.first, **dict(self.peers.items())}
        outputs = {name: step.outputs(batch) for name, step in steps.items()}
        losses, parts, logits = self.first.compared(outputs[FIRST], _beside(batch, outputs, FIRST))
        for name, step in self.peers.items():
            losses_of_peer, parts_of_peer, logits_of_peer = step.compared(outputs[name], _beside(batch, outputs, name))
            losses = tuple(loss + more for loss, more in zip(losses, losses_of_peer, strict=True))
            values = {"loss": sum(losses_of_peer).detach(), **parts_of_peer, "logits": logits_of_peer.detach()}
            parts |= {f"{name}/{key}": value for key, value in values.items()}
        return losses, parts, logits

    def after_step(self, runtime: Runtime) -> None:
        """Tell the helpers of every network that the optimiser has made its step."""
        for step in (self.first, *self.peers.values()):
            step.after_step(runtime)


FIRST = "student"
"""The name under which the losses of its peers see the network that a stage hands on."""


def _beside(batch: Batch, outputs: Mapping[str, Outputs], name: str) -> Batch:
    """Return a batch that has the outputs of all networks but one as `peers`."""
    return {**batch, "peers": {other: of_other for other, of_other in outputs.items() if other != name}}


def outputs_of_views(
    outputs: Callable[[Tensor, frozenset[str]], Outputs], batch: Batch, passes: Mapping[str, frozenset[str]]
) -> Outputs:
    """Return the outputs of a network for a batch, in one pass for each view.

    `passes` maps a view to the names of the outputs that are read of it; in the result those of `strong` are called
    `strong.logits` and so on. `outputs(images, names)` asks the network.
    """
    if list(passes) == [FIRST_VIEW]:
        return outputs(batch["image"], passes[FIRST_VIEW])
    result = Outputs()
    for view, names in passes.items():
        of_view = outputs(images_of(batch, view), names)
        result.update({named(view, name): value for name, value in of_view.items()})
    return result


def readable(network: nn.Layer) -> dict[str, nn.Layer]:
    """Return the layers whose weights a loss may read, by name.

    The names are `classifier`, and `stage3.norm` for the batch norm that makes the tap `stage3.pre`. A network of one's
    own offers them as `classifier`, which `taps` may name, and `norms`.
    """
    classifier = classifier_of(network)
    layers = {"classifier": classifier} if getattr(classifier, "weight", None) is not None else {}
    return {**layers, **{f"{stage}.norm": norm for stage, norm in getattr(network, "norms", {}).items()}}


def weights_of(network: nn.Layer, names: Collection[str]) -> dict[str, Tensor]:
    """Return the weights of the layers of these names.

    They are `classifier.weight` [d, classes] (or [classes, d, 1, 1] of a convolution), `stage3.norm.weight` [C] and so
    on, and `.bias` where there is one. Raises RunError for a layer that the network does not have, or does not name.
    """
    layers = readable(network) if names else {}
    for name in sorted(names):
        if name not in layers:
            what = f"a loss reads the weights of its {name}, and it does not say which layer that is"
            advice = "name it with taps: {classifier: PATH}" if name == "classifier" else "use another network or loss"
            raise RunError(f"{called(network)}: {what}; {advice}")
    parameters = {f"{name}.{kind}": getattr(layers[name], kind, None) for name in names for kind in ("weight", "bias")}
    return {name: value for name, value in parameters.items() if value is not None}


@paddle.no_grad()
def shapes(network: nn.Layer, names: Collection[str], size: int) -> dict[str, Shape]:
    """Return the shape of each of these outputs, without the batch, for images of `size` pixels a side."""
    with evaluating(network):
        outputs = outputs_of(network, paddle.zeros([1, 3, size, size]), names)
    return {name: tuple(outputs[name].shape[1:]) for name in names}


def shapes_in_views(
    shapes_of: Callable[[Collection[str]], Mapping[str, Shape]], names: Collection[str], views: Collection[str]
) -> dict[str, Shape]:
    """Return the shape of each of these outputs, also under the name that it has in its view.

    `shapes_of` says the shapes of outputs in the first view, as far as they are known; other views have the same.
    """
    plain = {name: split(name, views)[1] for name in names}
    known = shapes_of(set(plain.values()))
    return {**known, **{name: known[output] for name, output in plain.items() if output in known}}


def check_helpers(networks: Iterable[nn.Layer], helpers: Mapping[str, nn.Layer]) -> None:
    """Check that no two parameters have one name, because they would silently share the state of the optimiser.

    `networks` are those that train, whose own names differ. Raises RunError, which says the name.
    """
    names = {parameter.name for network in networks for parameter in network.parameters()}
    for term, layer in helpers.items():
        for parameter in layer.parameters():
            if parameter.name in names:
                what = f"a layer of it has a parameter named {parameter.name!r}, as another layer has"
                raise RunError(f"loss {term}: {what}; make its layers inside `helpers`")
            names.add(parameter.name)


def check_terms(objective: Objective, stage: str) -> None:
    """Check that the value of every term had a gradient. Raises RunError for one that would train nothing."""
    for name in objective.constant:
        what = f"loss {name}: its value has no gradient, so it trains nothing"
        how = "correct it where it detaches, or takes argmax or NumPy; train: head needs a loss of the logits"
        raise RunError(f"stage {stage}: {what}; {how}")


def check_gradients(trained: Iterable[tuple[str, Parameter]], reached: Callable[[Parameter], bool], stage: str) -> None:
    """Check that every trained parameter, by name, got a gradient, so that a training of days does not train nothing.

    Raises RunError for the first parameter that got none.
    """
    for name, parameter in trained:
        if not reached(parameter):
            what = f"no loss reaches the parameter {name!r}"
            raise RunError(f"stage {stage}: {what}; freeze it (stop_gradient), remove it, or add a loss that reads it")
