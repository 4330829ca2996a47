"""Define what every network of the zoo is, and make one by its name.

A network is `stem`, `stages` and `head`; `outputs` gives what each stage makes (see `taps.py`). A series is one file of
this folder: a class that takes numbers, and a `Family` that names rows of numbers. Networks are made by `create`, never
by calling a class, so that a network has the same parameter names however many were made before it.

Initialisation is that of the published 2.x training code: convolutions N(0, sqrt(2 / (kernel area * input channels))),
which is Paddle's default and counts *all* input channels of a grouped convolution too; BN scale 1 and shift 0. What a
series does otherwise stands in its file.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from ssld.errors import RecipeError, did_you_mean
from ssld.models.modes import BATCH_NORMS, evaluating
from ssld.models.taps import TwoHeads, is_activated, is_linear, last_of, norm_before, read_head, split
from ssld.spec.revisions import Flavour, Revision


@dataclass(frozen=True)
class Place:
    """Say where a key stands: the running number of its block over all stages, and its block of how many in which
    stage.

    `n` and `block` count from 0, `stage` from 1; `letter` is a for block 0, b for block 1 ..., but a, b1, b2 ... in a
    stage of more than 12 blocks, as the layers of ResNet-101 have been called since Caffe.
    """

    n: int
    stage: int
    block: int
    blocks: int

    @property
    def letter(self) -> str:
        return f"b{self.block}" if self.blocks > 12 and self.block else chr(ord("a") + self.block)


TRANSPOSED = (nn.Conv1DTranspose, nn.Conv2DTranspose, nn.Conv3DTranspose)
COUNTED = (nn.Conv1D, nn.Conv2D, nn.Conv3D, *TRANSPOSED, nn.Linear)
"""The layers whose multiply-adds `count` counts."""

# A rule is (pattern, template) or (pattern, function of match and place); the place is None outside the stages.
Rule = tuple[str, str] | tuple[str, Callable[[re.Match[str], Place | None], str]]
Rename = Sequence[Rule]

_FAMILIES: dict[str, Family] = {}


class Classifier(nn.Layer):
    """Classify images: float32 [N, 3, H, W] -> logits [N, num_classes].

    `in_size` is the nominal input resolution in pixels (used for export, for counting, and by series whose padding or
    head depends on it); other resolutions are accepted where the series does not say otherwise. A subclass sets `stem`
    and `head` (layers) and `stages` (a LayerList).
    """

    arch: str
    revision: Revision
    frozen: Sequence[nn.Layer] = ()
    """Layers at its end that another network trained. They are not trained, and stay in evaluation mode."""

    def __init__(self, num_classes: int, in_size: int):
        super().__init__()
        self.num_classes, self.in_size = num_classes, in_size

    @property
    def classifier(self) -> nn.Layer:
        """Return the layer that makes the logits, a Linear or a Conv2D. Of a network in int8 it holds the float
        weights.
        """
        return last_of(self._chain)

    @property
    def taps(self) -> tuple[str, ...]:
        """Return the names of the taps that this network gives, in the order in which a forward pass comes by them."""
        names: list[str] = []
        for number, stage in enumerate(self.stages):
            names += [f"stage{number + 1}.pre"] if is_activated(stage) else []
            names.append(f"stage{number + 1}")
        names += ["map"] + (["embedding"] if is_linear(self.classifier) else [])
        return (*names, *(["distillation"] if isinstance(self.classifier, TwoHeads) else []))

    @property
    def norms(self) -> dict[str, nn.Layer]:
        """Return, by name of a stage, the batch norm that makes its tap before the last activation, such as
        `stage1.pre`.

        Only stages where there is exactly one are in it. Where a sum enters the activation, the batch norm is the one
        that ends the block's own layers, not its shortcut.
        """
        norms = {f"stage{number + 1}": norm_before(stage) for number, stage in enumerate(self.stages)}
        return {name: norm for name, norm in norms.items() if norm is not None}

    def outputs(self, x: paddle.Tensor, taps: Collection[str] = ()) -> dict[str, paddle.Tensor]:
        """Return the `logits` and these taps, in one forward pass.

        `stage1` .. `stageN`: the output of each stage, [N, C, H, W]; `stage1.pre` ..: the same before its last
        activation; `map`: the last map, which is pooled; `embedding`: the vector [N, d] that the classifier takes, so
        that the classifier makes the logits of it. It raises RecipeError for a tap that this network does not give.
        """
        self._check(taps)
        values, x = {}, self._enter(x)
        for number, stage in enumerate(self.stages):  # Paddle cannot trace enumerate(start=1)
            name = f"stage{number + 1}"
            if f"{name}.pre" in taps:
                before, x = split(stage, x)
                values[f"{name}.pre"] = self._tapped(before)
            else:
                x = stage(x)
            if name in taps:
                values[name] = self._tapped(x)
        return {**values, **read_head(self._chain, self._leave(x), taps)}

    @property
    def auxiliary(self) -> list[nn.Layer]:
        """Return the layers that the logits do not depend on. They are not trained."""
        return []

    @property
    def _chain(self) -> nn.Sequential:
        """Return the part of the head that `_leave` leads to."""
        return self.head

    def _enter(self, x: paddle.Tensor) -> Any:
        """Turn the images into what the first stage takes."""
        return self.stem(x)

    def _leave(self, x: Any) -> paddle.Tensor:
        """Turn what the last stage gives into the map that the chain at the end of the head takes."""
        return x

    def _tapped(self, x: Any) -> paddle.Tensor:
        """Return what a tap shows of the output of a stage."""
        return x

    def _check(self, taps: Collection[str]) -> None:
        """Raise RecipeError for the first tap that this network does not give."""
        for name in taps:
            if name not in self.taps:
                raise RecipeError(self._no_tap(name))

    def _no_tap(self, name: str) -> str:
        what = f"model {self.arch}: no tap {name!r}{did_you_mean(name, self.taps)}"
        if name.endswith(".pre") and name.removesuffix(".pre") in self.taps:
            what = f"model {self.arch}: no tap {name!r}: that stage does not end in an activation"
        return f"{what}; it gives {', '.join(self.taps)}"

    @paddle.jit.not_to_static  # no branch depends on a value, so Paddle need not rewrite the code of every layer
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)


@dataclass(frozen=True)
class Family:
    """Describe a series: a class, and the numbers that make each of its variants. Its constructor registers them.

    `old` holds, for the variants that the code of PaddleClas 1.x built otherwise than the later code, the numbers that
    revision "1.x" changes; the weights of 1.x and 2.0 need them.

    `rename`, `rename_2_0` and `rename_static` turn our keys into published ones: those of PaddleClas 2.x (branch
    develop), those of 2.0 (None: the same) and the variable names of 1.x. They are rules, applied in order, each to its
    first match; a template is a format string over the groups {0}, {1} ... and, inside the stages, the attributes of
    the key's `Place`: {n}, {stage}, {block}, {letter}. A format spec is added to a number: {n:+2}, {0:-1}.
    """

    series: str
    cls: type[Classifier]
    variants: Mapping[str, Mapping[str, Any]]
    rename: Rename
    rename_2_0: Rename | None = None
    rename_static: Rename = ()
    old: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.variants:
            if name in _FAMILIES:
                raise RecipeError(
                    f"model {name!r}: registered by {_FAMILIES[name].series} and {self.series}; rename one"
                )
            _FAMILIES[name] = self

    def rules(self, flavour: Flavour) -> Rename:
        if flavour == "static":
            return self.rename_static
        return self.rename if flavour == "develop" or self.rename_2_0 is None else self.rename_2_0


@cache
def _load_series() -> None:
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], "ssld.models."):
        importlib.import_module(module.name)


def _family(name: str) -> Family:
    _load_series()
    if name not in _FAMILIES:
        raise RecipeError(f"no model named {name!r}{did_you_mean(name, _FAMILIES)}; see `ssld list models`")
    return _FAMILIES[name]


def names() -> list[str]:
    """Return every architecture that `create` knows."""
    _load_series()
    return list(_FAMILIES)


def series(name: str) -> str:
    """Return the series that an architecture belongs to, e.g. 'resnet_vd'."""
    return _family(name).series


def revised(name: str) -> bool:
    """Say whether revision "1.x" of this architecture differs from "2.x"."""
    return name in _family(name).old


def create(
    name: str, num_classes: int = 1000, in_size: int = 224, revision: Revision = "2.x", **unknown: Any
) -> Classifier:
    """Make a network of the zoo with fresh weights, in training mode.

    `revision`: a few networks (`revised`) differ between the code of PaddleClas 1.x, which their published weights need
    (a card says so), and the later code. It raises RecipeError for an unknown name, option or revision, or for a count
    or size that is not a positive whole number.
    """
    family = _family(name)
    for option in unknown:
        hint = did_you_mean(option, ("num_classes", "in_size", "revision"))
        raise RecipeError(f"model {name!r}: no option {option!r}{hint}")
    check_whole(f"model {name!r}", num_classes=num_classes, in_size=in_size)
    if revision not in ("1.x", "2.x"):
        raise RecipeError(f"model {name!r}: revision is {revision!r}; give '1.x' or '2.x'")
    numbers = {**family.variants[name], **(family.old.get(name, {}) if revision == "1.x" else {})}
    # Names count from 0 in every network, so optimizer state can be found again; the prefix keeps two networks apart.
    with paddle.utils.unique_name.guard(f"{name}_"):
        model = family.cls(**numbers, num_classes=num_classes, in_size=in_size)
    model.arch, model.revision = name, revision
    return model


def check_whole(where: str, **numbers: Any) -> None:
    """Raise RecipeError for the first of the numbers that is no whole number from 1 up."""
    for option, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise RecipeError(f"{where}: {option} is {value!r}; give a whole number from 1 up")


@cache
def keymap(name: str, flavour: Flavour = "develop", revision: Revision = "2.x") -> Mapping[str, str]:
    """Return published key -> our key, for every entry of the state.

    Two keys that would share a name raise RecipeError.
    """
    family = _family(name)
    keys = _keys(name, revision)
    places, rules = _places(keys), family.rules(flavour)
    published = {_published(key, rules, places.get(_block(key))): key for key in keys}
    if len(published) != len(keys):
        raise RecipeError(
            f"model {name!r}: two of its keys get one {flavour} name; mend the rules of {family.series!r}"
        )
    return published


@cache
def _keys(name: str, revision: Revision) -> tuple[str, ...]:
    """Return our keys, in order. A network is made for them, without weights: once for all flavours of names."""
    with paddle.LazyGuard():
        return tuple(create(name, revision=revision).state_dict())


def _block(key: str) -> tuple[int, int] | None:
    """Return (stage, block) of a key inside the stages, both counted from 0."""
    match = re.match(r"stages\.(\d+)\.(\d+)\.", key)
    return match and (int(match[1]), int(match[2]))


def _places(keys: Sequence[str]) -> dict[tuple[int, int] | None, Place]:
    blocks = [block for block in dict.fromkeys(map(_block, keys)) if block]
    depths = Counter(stage for stage, _ in blocks)
    return {(stage, block): Place(n, stage + 1, block, depths[stage]) for n, (stage, block) in enumerate(blocks)}


class _Piece(str):
    """Hold a piece of a name; a format spec is added to the number that the piece is."""

    def __format__(self, spec: str) -> str:
        return str(int(self) + int(spec)) if spec else str(self)


def _published(key: str, rename: Rename, place: Place | None) -> str:
    counted = {name: _Piece(getattr(place, name)) for name in ("n", "stage", "block", "letter")} if place else {}
    for pattern, template in rename:
        if match := re.search(pattern, key):
            new = (
                template.format(*map(_Piece, match.groups()), **counted)
                if isinstance(template, str)
                else template(match, place)
            )
            key = key[: match.start()] + new + key[match.end() :]
    return key


def count(model: nn.Layer, size: int) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates) of one image of size x size pixels, of any network.

    Parameters leave out BN's running statistics. MACs are those of convolutions, transposed ones too, and of linear
    layers, those inside `nn.MultiHeadAttention` among them; biases are not counted: half of the 'FLOPs' of tables that
    count two operations a MAC. Whatever a network computes without such a layer is left out: the two matrix products of
    an attention, or a function such as `F.conv2d` that is called with weights. Auxiliary heads count, as in the
    published tables. One forward pass is run (in Paddle's static mode: its shapes are worked out, without memory or
    arithmetic); the modes of the layers are restored.
    """
    with evaluating(model), paddle.no_grad(), counting(model) as macs:
        images = paddle.zeros([1, 3, size, size])
        every: Any = getattr(model, "heads", model) if isinstance(model, Classifier) else model
        every(images)
    return parameters(model), macs()


def parameters(model: nn.Layer) -> int:
    """Count the network's parameters, without the running statistics of batch norms."""
    norms = [layer for layer in model.sublayers(include_self=True) if isinstance(layer, BATCH_NORMS)]
    statistics = {id(value) for layer in norms for value in (layer._mean, layer._variance)}
    return sum(prod(p.shape) for p in model.parameters() if id(p) not in statistics)


@contextmanager
def counting(model: nn.Layer) -> Iterator[Callable[[], int]]:
    """Count the multiply-accumulates of all calls of its layers inside the block, as `count` does."""
    macs = 0

    def add(layer: nn.Layer, inputs: tuple[Any, ...], named: dict[str, Any], output: paddle.Tensor) -> None:
        nonlocal macs
        macs += _macs(layer, inputs[0] if inputs else named["x"], output)

    with ExitStack() as hooks:
        for layer in model.sublayers(include_self=True):
            if isinstance(layer, COUNTED):
                hooks.callback(layer.register_forward_post_hook(add, with_kwargs=True).remove)
        yield lambda: macs


def _macs(layer: nn.Layer, entering: paddle.Tensor, output: paddle.Tensor) -> int:
    """Count the multiply-adds of a layer for one call.

    A weight is [out, in / groups, kernel] of a convolution and [in, out] of a linear layer. Each output number takes
    one multiply-add an input number. A transposed convolution, [in, out / groups, kernel], is the other way round: each
    input number meets out / groups * kernel weights, whatever the padding then cuts off.
    """
    weight = layer.weight.shape
    if isinstance(layer, TRANSPOSED):
        return prod(entering.shape) * prod(weight[1:])
    return prod(output.shape) * (weight[0] if isinstance(layer, nn.Linear) else prod(weight[1:]))
