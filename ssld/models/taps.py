"""Ask a network for more than its logits.

`outputs_of`, `taps_of` and `classifier_of` ask any network: one that has a method `outputs(images, taps)` and `taps`,
the names that it takes, as the zoo has, or a plain layer. Of a plain layer `tap_paths` says which of its layers each
tap shows. The rest is how a network of the zoo gives the values before a last activation, and the steps of its head.

Whatever is asked for, the layers are those of the forward pass, called in the same order.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import nn
from paddle.nn.functional import relu

from ssld.errors import RecipeError, RunError, did_you_mean
from ssld.interfaces import Outputs

Values = Any  # they are a map [N, C, H, W], or a list of maps where a stage has branches
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Swish)
NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)


class Activated(nn.Layer):
    """End a block in a ReLU. A subclass says what enters it."""

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return relu(self.before(x))

    @property
    def norm(self) -> nn.Layer | None:
        """Return the batch norm that makes what enters the ReLU, or None where there is not exactly one."""
        return None


class Summed(Activated):
    """End a block in the ReLU of a sum. A subclass sets `body` and `shortcut`, layers of the same input."""

    body: nn.Layer
    shortcut: nn.Layer

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.body(x) + self.shortcut(x)

    @property
    def norm(self) -> nn.Layer | None:
        """Return the batch norm that the body ends in, whatever the shortcut adds.

        The published code of OFD (arXiv:1904.01866) chooses it so, too. It is None where the body ends otherwise, in a
        gate for example.
        """
        return last_norm(self.body)


def is_chain(layer: nn.Layer) -> bool:
    """Say whether a layer calls its children one after the other, and does nothing else."""
    return isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward


def is_activated(layer: nn.Layer) -> bool:
    """Say whether the last step of a layer is an activation, so that `split` can tell what enters that."""
    if isinstance(layer, (*ACTIVATIONS, Activated)):
        return True
    if isinstance(layer, SideBySide):
        return all(is_activated(child) for child in layer)
    children = list(layer.children()) if is_chain(layer) else []
    return bool(children) and is_activated(children[-1])


@paddle.jit.not_to_static  # Paddle's rewriting of Python code loses the globals of a recursive function
def split(layer: nn.Layer, x: Values) -> tuple[Values, Values]:
    """Return what enters the last activation of a layer, and what leaves it; `is_activated` says that there is one."""
    if isinstance(layer, ACTIVATIONS):
        return x, layer(x)
    if isinstance(layer, SideBySide):
        return layer.split(x)
    if isinstance(layer, Activated):
        before = layer.before(x)
        return before, [relu(value) for value in before] if isinstance(before, list) else relu(before)
    *first, last = layer.children()
    for child in first:
        x = child(x)
    return split(last, x)


def last_norm(layer: nn.Layer) -> nn.Layer | None:
    """Return the batch norm that a layer is or ends in, or None."""
    if isinstance(layer, NORMS):
        return layer
    children = list(layer.children()) if is_chain(layer) else []
    return last_norm(children[-1]) if children else None


def norm_before(layer: nn.Layer) -> nn.Layer | None:
    """Return the batch norm that makes what enters a layer's last activation, or None where there is not exactly
    one.
    """
    if isinstance(layer, Activated):
        return layer.norm
    alone = isinstance(layer, SideBySide) and len(layer) == 1
    children = list(layer.children()) if alone or is_chain(layer) else []
    if children and isinstance(children[-1], ACTIVATIONS):
        return last_norm(children[-2]) if len(children) > 1 else None
    return norm_before(children[-1]) if children else None


class SideBySide(nn.LayerList):
    """Hold layers side by side. A subclass says how their inputs are found and what becomes of their outputs."""

    def split(self, x: Values) -> tuple[Values, Values]:
        """Return what enters and what leaves the last activations of all layers, as the function `split` does of
        one.
        """
        raise NotImplementedError


def inside(layer: nn.Layer) -> nn.Layer:
    """Return the layer inside one that rounds to int8, which has the weights in float, or any other layer itself."""
    inner = getattr(layer, "_layer", None)
    return inner if hasattr(inner, "_fake_quant_input") else layer


def last_of(head: nn.Sequential) -> nn.Layer:
    """Return the layer that makes the logits: the last one of a chain that has weights (see `inside`)."""
    layers = [inside(layer) for layer in head.children()]
    return [layer for layer in layers if getattr(layer, "weight", None) is not None][-1]


def is_linear(layer: nn.Layer) -> bool:
    """Say whether a layer takes vectors [N, d]: then what enters it is an embedding."""
    weight = getattr(layer, "weight", None)
    return weight is not None and len(weight.shape) == 2


class TwoHeads(nn.Layer):
    """Make logits with a network's own classifier and, for a teacher, with a second one of the same kind.

    Both are chains of a classifier and what comes after it. While it trains it returns the logits of the first; in use
    the mean of both.
    """

    def __init__(self, own: nn.Sequential, second: nn.Sequential):
        super().__init__()
        self.own, self.second = own, second

    @property
    def weight(self) -> paddle.Tensor:
        """Return the weight of the network's own classifier."""
        return last_of(self.own).weight

    @property
    def bias(self) -> paddle.Tensor | None:
        """Return the bias of the network's own classifier."""
        return last_of(self.own).bias

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        own = self.own(x)
        return own if self.training else (own + self.second(x)) / 2


def place_of_map(head: nn.Sequential) -> int:
    """Return the place of the first layer of a chain that takes the last map: what pools or flattens it, or where
    neither comes before the classifier, the classifier.
    """
    classifier = last_of(head)
    pools = (nn.AdaptiveAvgPool2D, nn.Flatten)
    takes_map = (inside(layer) is classifier or isinstance(layer, pools) for layer in head.children())
    return list(takes_map).index(True)


def read_head(head: nn.Sequential, x: paddle.Tensor, taps: Collection[str]) -> dict[str, paddle.Tensor]:
    """Return the logits of a chain that ends in a classifier, and what of its other outputs `taps` names.

    `map` is the last map [N, C, H, W], see `place_of_map`. `embedding` is the vector [N, d] that the classifier takes.
    `distillation` are the logits of the second one of `TwoHeads`.
    """
    outputs: dict[str, paddle.Tensor] = {}
    classifier, map_at, second = last_of(head), place_of_map(head), None
    for place, layer in enumerate(head.children()):
        if place == map_at and "map" in taps:
            outputs["map"] = x
        if inside(layer) is classifier and "embedding" in taps:
            outputs["embedding"] = x
        if isinstance(layer, TwoHeads):
            second = layer.second(x) if DISTILLATION in taps else None
        x = layer(x)
    outputs["logits"] = x
    return outputs if second is None else {**outputs, DISTILLATION: second}


# --- these functions ask any network

CLASSIFIER, EMBEDDING, LOGITS, DISTILLATION = "classifier", "embedding", "logits", "distillation"


def outputs_of(network: nn.Layer, images: paddle.Tensor, names: Collection[str]) -> Outputs:
    """Return the outputs of these names, of images float32 [N, 3, S, S], in one forward pass: `logits` and taps.

    Of a network without a method `outputs` a tap is what the layer returns that `tap_paths` names, and `embedding`, if
    it is not among those, is what enters the classifier. It raises RunError for a network that gives logits alone;
    RecipeError for a tap that this network does not give, and for a layer that is not called once in a forward pass, or
    whose output is no single tensor or is changed in place afterwards.
    """
    taps = sorted(set(names) - {LOGITS})
    if not taps:
        return Outputs({LOGITS: network(images)})
    if speaks(network):
        return Outputs(network.outputs(images, taps))
    offered = taps_of(network)
    if not offered:
        raise RunError(
            f"{called(network)}: a loss reads {taps[0]!r}, and this network gives logits alone{_how(taps[0])}"
        )
    for name in taps:
        if name not in offered:
            raise RecipeError(f"{called(network)}: {no_tap(network, name)}")
    return Outputs(read([_view(network, name) for name in taps], network, images))


def taps_of(network: nn.Layer) -> frozenset[str]:
    """Return the names of the taps that a network gives; none where it says nothing of taps."""
    if speaks(network):
        return frozenset(getattr(network, "taps", ()))
    classifier = classifier_of(network)
    named = tap_paths(network).keys() - {CLASSIFIER}
    return frozenset(named | ({EMBEDDING} if classifier is not None and is_linear(classifier) else set()))


def classifier_of(network: nn.Layer) -> nn.Layer | None:
    """Return the layer that makes the logits, None where the network does not say which one does.

    That is the layer whose path `tap_paths` has under `classifier`, or the attribute `classifier`. Of a layer that
    rounds to int8 it is the one inside, whose weights are still those in float.
    """
    layer = _called_classifier(network)
    return None if layer is None else inside(layer)


def tap_paths(network: nn.Layer) -> Mapping[str, str]:
    """Return name of a tap -> path of a layer, such as `body.2`; `classifier` names the layer that makes the logits."""
    paths = getattr(network, "tap_paths", None)
    return paths if isinstance(paths, Mapping) else {}


def speaks(network: nn.Layer) -> bool:
    """Say whether a network gives its taps itself, by a method `outputs(images, taps)`."""
    return inspect.ismethod(getattr(network, "outputs", None))


def called(network: nn.Layer) -> str:
    """Return what messages call a network: its architecture or, where it says none, its class."""
    arch = getattr(network, "arch", None)
    return arch if isinstance(arch, str) else type(network).__name__


def sublayer(network: nn.Layer, path: str) -> nn.Layer | None:
    """Return the layer of a path such as `body.2`, None where there is none."""
    layer: nn.Layer | None = network
    for part in path.split("."):
        layer = None if layer is None else layer._sub_layers.get(part)
    return layer


def no_tap(network: nn.Layer, name: str) -> str:
    """Say why a network does not give a tap of this name, and what to do about it."""
    offered = sorted(taps_of(network))
    gives = f"; it gives {', '.join(offered)}" if offered else ""
    if name != EMBEDDING:
        return f"no tap {name!r}{did_you_mean(name, offered)}{gives}"
    classifier = classifier_of(network)
    if classifier is None:
        what = "the network does not say which layer makes its logits"
    elif getattr(classifier, "weight", None) is None:
        what = f"its classifier is a {type(classifier).__name__}, not one layer with weights"
    else:
        return f"no tap {EMBEDDING!r}: its classifier takes no vectors; name a layer with taps: {{{EMBEDDING}: PATH}}"
    return f"no tap {EMBEDDING!r}: {what}; name the layer with taps: {{{CLASSIFIER}: {_likely(network)}}}"


@dataclass
class View:
    """Keep a value of a layer in one forward pass: its output or, with `entering`, the tensor that it takes."""

    name: str
    path: str
    layer: nn.Layer
    entering: bool = False
    values: list[Any] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)  # how often each value had been changed in place

    def hook(self) -> Any:
        def keep_input(layer: nn.Layer, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
            arguments = (*inputs, *named.values())
            self.keep(arguments[0] if len(arguments) == 1 else arguments)

        def keep_output(layer: nn.Layer, inputs: tuple[Any, ...], output: Any) -> None:
            self.keep(output)

        if self.entering:
            return self.layer.register_forward_pre_hook(keep_input, with_kwargs=True)
        return self.layer.register_forward_post_hook(keep_output)

    def keep(self, value: Any) -> None:
        self.values.append(value)
        self.versions.append(getattr(value, "inplace_version", 0))

    def value(self) -> Any:
        """Return the tensor. It raises RecipeError, which names no network, where there is none to rely on."""
        times, what = len(self.values), "what enters" if self.entering else "the output of"
        if times == 0:
            raise RecipeError(f"tap {self.name!r}: {self.path} is not called in a forward pass; name a layer that is")
        if times > 1:
            raise RecipeError(
                f"tap {self.name!r}: {self.path} is called {times} times in a forward pass; name a layer called once"
            )
        (value,) = self.values
        if not hasattr(value, "shape"):
            kind = f"a {type(value).__name__}, not one tensor"
            raise RecipeError(f"tap {self.name!r}: {what} {self.path} is {kind}; name another layer")
        if getattr(value, "inplace_version", 0) != self.versions[0]:
            raise RecipeError(
                f"tap {self.name!r}: {what} {self.path} is changed in place afterwards; name another layer, or change "
                "the code to make a new tensor"
            )
        return value


def read(views: Collection[View], network: nn.Layer, images: paddle.Tensor) -> dict[str, paddle.Tensor]:
    """Return the logits and what the views show, in one forward pass.

    No hook stays behind. It raises as `outputs_of` does.
    """
    with ExitStack() as hooks:
        for view in views:
            hooks.callback(view.hook().remove)
        logits = network(images)
    try:
        return {LOGITS: logits, **{view.name: view.value() for view in views}}
    except RecipeError as error:
        raise RecipeError(f"{called(network)}: {error}") from None


def classifier_view(network: nn.Layer, entering: bool) -> View:
    """Make a view of what enters the classifier, or leaves it, as the tap `embedding` or `classifier`."""
    layer = _called_classifier(network)
    assert layer is not None, "whoever asks for the classifier has seen that there is one"
    path = tap_paths(network).get(CLASSIFIER, f"its {CLASSIFIER}")
    return View(EMBEDDING if entering else CLASSIFIER, path, layer, entering)


def _view(network: nn.Layer, name: str) -> View:
    """Make a view of a plain layer for a tap that `taps_of` names."""
    path = tap_paths(network).get(name)
    if path is None:
        return classifier_view(network, entering=True)
    layer = sublayer(network, path)
    if layer is None:
        raise RecipeError(f"{called(network)}: tap {name!r}: {no_layer(network, path)}")
    return View(name, path, layer)


def no_layer(network: nn.Layer, path: str) -> str:
    """Say which layer may have been meant by the path of one that does not exist."""
    names = [name for name, _ in network.named_sublayers()]
    hint = did_you_mean(path, names) or f"; it has {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
    return f"there is no layer {path}{hint}"


def _called_classifier(network: nn.Layer) -> nn.Layer | None:
    """Return the classifier as the forward pass calls it: in a network in int8 the layer that rounds."""
    path = tap_paths(network).get(CLASSIFIER)
    layer = getattr(network, CLASSIFIER, None) if path is None else sublayer(network, path)
    return layer if isinstance(layer, nn.Layer) else None


def _likely(network: nn.Layer) -> str:
    """Return the path of the only linear layer with an output for each class; PATH where there are several, or none."""
    classes = getattr(network, "num_classes", None)
    paths = [
        name.removesuffix("._layer")
        for name, layer in network.named_sublayers()
        if inside(layer) is layer and is_linear(layer) and layer.weight.shape[1] == classes
    ]
    return paths[0] if len(paths) == 1 else "PATH"


def _how(name: str) -> str:
    """Say what a network that gives logits alone may do to show a tap."""
    taps = f"taps: {{{CLASSIFIER}: PATH}}" if name == EMBEDDING else f"taps: {{{name}: PATH}}"
    return f"; give it {taps} (its attribute `tap_paths`), or a method outputs(images, taps)"
