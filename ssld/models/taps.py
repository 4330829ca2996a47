"""How a network is asked for more than its logits: the values before a last activation, and the steps of a head.

Whatever is asked for, the layers are those of the forward pass, called in the same order.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import paddle
from paddle import nn
from paddle.nn.functional import relu

Values = Any  # a map [N, C, H, W], or a list of them where a stage has branches
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Swish)
NORMS = (nn.BatchNorm2D, nn.SyncBatchNorm)


class Activated(nn.Layer):
    """A block whose last step is a ReLU. A subclass says what enters it."""

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        raise NotImplementedError

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return relu(self.before(x))

    @property
    def norm(self) -> nn.Layer | None:
        """The batch norm that makes what enters the ReLU, or None where there is not exactly one."""
        return None


class Summed(Activated):
    """A block that ends in the ReLU of a sum. A subclass sets `body` and `shortcut`, layers of the same input."""

    body: nn.Layer
    shortcut: nn.Layer

    def before(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.body(x) + self.shortcut(x)

    @property
    def norm(self) -> nn.Layer | None:
        """The batch norm that the body ends in, whatever the shortcut adds: so the published code of OFD
        (arXiv:1904.01866) chooses it, too. None where the body ends otherwise, in a gate for example."""
        return last_norm(self.body)


def is_chain(layer: nn.Layer) -> bool:
    """Whether a layer calls its children one after the other, and does nothing else."""
    return isinstance(layer, nn.Sequential) and type(layer).forward is nn.Sequential.forward


def is_activated(layer: nn.Layer) -> bool:
    """Whether the last step of a layer is an activation, so that `split` can tell what enters that."""
    if isinstance(layer, (*ACTIVATIONS, Activated)):
        return True
    if isinstance(layer, SideBySide):
        return all(is_activated(child) for child in layer)
    children = list(layer.children()) if is_chain(layer) else []
    return bool(children) and is_activated(children[-1])


@paddle.jit.not_to_static  # Paddle's rewriting of Python code loses the globals of a recursive function
def split(layer: nn.Layer, x: Values) -> tuple[Values, Values]:
    """What enters the last activation of a layer, and what leaves it; `is_activated` says that there is one."""
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
    """The batch norm that a layer is or ends in, or None."""
    if isinstance(layer, NORMS):
        return layer
    children = list(layer.children()) if is_chain(layer) else []
    return last_norm(children[-1]) if children else None


def norm_before(layer: nn.Layer) -> nn.Layer | None:
    """The batch norm that makes what enters the last activation of a layer, or None where there is not exactly one."""
    if isinstance(layer, Activated):
        return layer.norm
    alone = isinstance(layer, SideBySide) and len(layer) == 1
    children = list(layer.children()) if alone or is_chain(layer) else []
    if children and isinstance(children[-1], ACTIVATIONS):
        return last_norm(children[-2]) if len(children) > 1 else None
    return norm_before(children[-1]) if children else None


class SideBySide(nn.LayerList):
    """Layers side by side. A subclass says how their inputs are found and what becomes of their outputs."""

    def split(self, x: Values) -> tuple[Values, Values]:
        """As the function of that name, of all of them together."""
        raise NotImplementedError


def classifier_of(head: nn.Sequential) -> nn.Layer:
    """The layer that makes the logits: the last one of a chain that has weights.

    Of a layer that rounds to int8 it is the one inside, whose weights are still those in float.
    """
    layers = [getattr(layer, "_layer", layer) for layer in head.children()]
    return [layer for layer in layers if getattr(layer, "weight", None) is not None][-1]


def is_linear(layer: nn.Layer) -> bool:
    """Whether a layer takes vectors [N, d]: then what enters it is an embedding."""
    return len(layer.weight.shape) == 2


def read_head(head: nn.Sequential, x: paddle.Tensor, taps: Collection[str]) -> dict[str, paddle.Tensor]:
    """The logits of a chain that ends in a classifier, and of the taps `map` and `embedding` those that are asked for.

    `map` is the last map [N, C, H, W]: what is pooled or flattened or, where neither comes before the classifier, what
    the classifier takes. `embedding` is the vector [N, d] that the classifier takes.
    """
    found: dict[str, paddle.Tensor] = {}
    classifier, has_map = classifier_of(head), False
    for layer in head.children():
        last = layer is classifier or getattr(layer, "_layer", None) is classifier
        if not has_map and (last or isinstance(layer, (nn.AdaptiveAvgPool2D, nn.Flatten))):
            has_map = True
            if "map" in taps:
                found["map"] = x
        if last and "embedding" in taps:
            found["embedding"] = x
        x = layer(x)
    found["logits"] = x
    return found
