"""Give a network of the zoo another end than its own classifier.

The end of a network is what comes after its last map, the tap `map`: layers that pool it and make logits of it. The
network stays a `Classifier`, with the keys of its own layers, but it is none of the zoo any more: its `arch` says so,
and published weights no longer fit it.
"""

from __future__ import annotations

from paddle import Tensor, nn
from paddle.nn.functional import adaptive_avg_pool2d

from ssld.models.base import Classifier
from ssld.models.taps import TwoHeads, inside, place_of_map

PROJECT, REUSED = "project", "teacher_"


def add_distillation_head(network: Classifier, other: Classifier) -> None:
    """Put a second classifier beside that of a network, in place, as DeiT has one for its teacher (arXiv:2012.12877).

    `other` is a network of the same architecture, whose classifier it becomes. While it trains, the logits are those of
    the network's own classifier and the tap `distillation` those of the second one; in use they are the mean of both.
    """
    name, own = _taken_off(network)
    _, second = _taken_off(other)
    for parameter in second.parameters():
        parameter.name = f"second_{parameter.name}"
    network._chain.add_sublayer(name, TwoHeads(own, second))
    _become(network, f"{network.arch}+distillation")


def add_teacher_head(network: Classifier, projector: nn.Layer, teacher: Classifier, size: int | None = None) -> None:
    """Let a network end, in place, in a projector and in the end of its teacher, as SimKD does (arXiv:2203.14001).

    `projector` brings maps [N, C, H, W] of the network to the channels of the teacher's map. With `size` maps are
    averaged to so many pixels a side first, whatever size the images have. What comes behind are the layers of
    `teacher`, which is used for nothing else. They are never trained and stay in evaluation mode. The tap `map` is what
    the projector makes.
    """
    chain, end = network._chain, _end(teacher)
    for name in _end(network):
        del chain._sub_layers[name]
    chain.add_sublayer(PROJECT, projector if size is None else Projected(projector, size))
    for name, layer in end.items():
        chain.add_sublayer(f"{REUSED}{name}", layer)
    network.frozen = list(end.values())
    _become(network, f"{network.arch}+{teacher.arch}")


def take_end(network: Classifier, teacher: Classifier) -> None:
    """Set the weights of the end that a network has of its teacher to those of the same teacher when it is trained."""
    chain = dict(network._chain.named_children())
    for name, layer in _end(teacher).items():
        own = chain[f"{REUSED}{name}"].state_dict()
        for key, value in layer.state_dict().items():
            own[key].set_value(value)


class Projected(nn.Layer):
    """Average a map to `size` pixels a side, and project it."""

    def __init__(self, projector: nn.Layer, size: int):
        super().__init__()
        self.projector, self.size = projector, size

    def forward(self, x: Tensor) -> Tensor:
        return self.projector(adaptive_avg_pool2d(x, self.size))


def _taken_off(network: Classifier) -> tuple[str, nn.Sequential]:
    """Take the classifier of a network, with what comes after it, off its chain. Return the classifier's name too."""
    children = dict(network._chain.named_children())
    names = list(children)
    place = names.index(next(name for name, layer in children.items() if inside(layer) is network.classifier))
    for name in names[place:]:
        del network._chain._sub_layers[name]
    return names[place], nn.Sequential(*((name, children[name]) for name in names[place:]))


def _end(network: Classifier) -> dict[str, nn.Layer]:
    """Return the layers of a network that come after its last map, by name."""
    children = dict(network._chain.named_children())
    first = place_of_map(network._chain)
    return dict(list(children.items())[first:])


def _become(network: Classifier, arch: str) -> None:
    network.arch = arch
    del network.revision  # that of published weights
