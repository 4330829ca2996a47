"""What every network of the zoo is, and how one is made by name.

A network is `stem`, `stages` (one an entry of `features`) and `head`. A series is one file of this folder: a class
that takes numbers, and a `Family` that names rows of numbers. Networks are made by `create`, never by calling a
class, so that a network has the same parameter names however many were made before it.

Initialisation is that of the published 2.x training code: convolutions N(0, sqrt(2 / (kernel area * input
channels))), which is Paddle's default and counts *all* input channels of a grouped convolution too; BN scale 1 and
shift 0. What a series does otherwise stands in its file.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ssld.errors import RecipeError, did_you_mean

Rename = Sequence[tuple[str, str]]

_FAMILIES: dict[str, Family] = {}


class Classifier(nn.Layer):
    """An image classifier: float32 [N, 3, H, W] -> logits [N, num_classes].

    `in_size` is the nominal input resolution in pixels (used for export, for counting, and by series whose padding
    depends on it); other resolutions are accepted. A subclass sets `stem` and `head` (layers) and `stages` (a
    LayerList).
    """

    arch: str

    def __init__(self, num_classes: int, in_size: int):
        super().__init__()
        self.num_classes, self.in_size = num_classes, in_size

    def features(self, x: paddle.Tensor) -> list[paddle.Tensor]:
        """The output of every stage, shallow to deep: tensors [N, C_i, H_i, W_i]."""
        x, taps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return taps

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.head(self.features(x)[-1])


@dataclass(frozen=True)
class Family:
    """A series: a class, and the numbers that make each of its variants. Constructing it registers them.

    `rename` turns our keys into the published ones (PaddleClas 2.x, branch develop): pairs (pattern, template),
    applied in order, each to its first match; the template is a format string over the groups {0}, {1} ..., with {n}
    the running number of the block over all stages and {stage} the number of the stage counted from 1.
    """

    series: str
    cls: type[Classifier]
    variants: Mapping[str, Mapping[str, Any]]
    rename: Rename

    def __post_init__(self) -> None:
        for name in self.variants:
            if name in _FAMILIES:
                raise RecipeError(
                    f"model {name!r}: registered by {_FAMILIES[name].series} and {self.series}; rename one"
                )
            _FAMILIES[name] = self


@cache
def _load_series() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"ssld.models.{module.name}")


def _family(name: str) -> Family:
    _load_series()
    if name not in _FAMILIES:
        raise RecipeError(f"no model named {name!r}{did_you_mean(name, _FAMILIES)}; see `ssld list models`")
    return _FAMILIES[name]


def names() -> list[str]:
    """Every architecture that `create` knows."""
    _load_series()
    return list(_FAMILIES)


def series(name: str) -> str:
    """The series that an architecture belongs to, e.g. 'resnet_vd'."""
    return _family(name).series


def create(name: str, num_classes: int = 1000, in_size: int = 224, **unknown: Any) -> Classifier:
    """Make a network of the zoo with fresh weights, in training mode.

    Raises RecipeError for an unknown name or option, or for a count or size that is not a positive whole number.
    """
    family = _family(name)
    for option in unknown:
        hint = did_you_mean(option, ("num_classes", "in_size"))
        raise RecipeError(f"model {name!r}: no option {option!r}{hint}")
    for option, value in (("num_classes", num_classes), ("in_size", in_size)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RecipeError(f"model {name!r}: {option} is {value!r}; give a whole number from 1 up")
    # Names count from 0 in every network, so optimizer state can be found again; the prefix keeps two networks apart.
    with paddle.utils.unique_name.guard(f"{name}_"):
        model = family.cls(**family.variants[name], num_classes=num_classes, in_size=in_size)
    model.arch = name
    return model


@cache
def keymap(name: str) -> Mapping[str, str]:
    """Published 2.x key -> our key, for every entry of the state; RecipeError when two keys would share a name."""
    family = _family(name)
    with paddle.LazyGuard():  # only the names are wanted
        keys = list(create(name).state_dict())
    blocks = {block: n for n, block in enumerate(dict.fromkeys(block for block in map(_block, keys) if block))}
    published = {_published(key, family.rename, blocks): key for key in keys}
    if len(published) != len(keys):
        raise RecipeError(f"model {name!r}: two of its keys get one published name; mend rename of {family.series!r}")
    return published


def _block(key: str) -> str | None:
    found = re.match(r"stages\.(\d+)\.(\d+)\.", key)
    return found and found[0]


def _published(key: str, rename: Rename, blocks: Mapping[str, int]) -> str:
    block = _block(key)
    counted = {"n": blocks[block], "stage": int(block.split(".")[1]) + 1} if block else {}
    for pattern, template in rename:
        if found := re.search(pattern, key):
            key = key[: found.start()] + template.format(*found.groups(), **counted) + key[found.end() :]
    return key


def count(model: nn.Layer, size: int) -> tuple[int, int]:
    """(parameters, multiply-accumulates) of one image of size x size pixels.

    Parameters leave out BN's running statistics. MACs are those of convolutions and linear layers alone, biases not
    counted: half of the 'FLOPs' of tables that count two operations a MAC. One forward pass is run; the modes of the
    layers are restored.
    """
    macs = 0

    def add(layer: nn.Layer, inputs: Any, output: paddle.Tensor) -> None:
        nonlocal macs
        weight = layer.weight.shape  # [out, in / groups, h, w] of a convolution, [in, out] of a linear layer
        macs += output.size * (prod(weight[1:]) if isinstance(layer, nn.Conv2D) else weight[0])

    counted = [layer for layer in model.sublayers() if isinstance(layer, (nn.Conv2D, nn.Linear))]
    hooks = [layer.register_forward_post_hook(add) for layer in counted]
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    model.eval()
    try:
        with paddle.no_grad():
            model(paddle.zeros([1, 3, size, size]))
    finally:
        for hook in hooks:
            hook.remove()
        for layer, training in modes:
            layer.training = training
    return sum(p.size for key, p in model.named_parameters() if not key.endswith(("._mean", "._variance"))), macs
