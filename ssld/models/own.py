"""Make networks of one's own: a class or a function of a Python file that a recipe names, such as `nets.py:Tiny`.

The network stays what it is, an `nn.Layer` of its own class with its own keys. `create_own` names its parameters, gives
it the attributes that networks have here, and runs it once: what is wrong with it shows before a long training.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from ssld.errors import RecipeError, RunError, call_own, did_you_mean
from ssld.models import taps as tapping
from ssld.models.base import check_whole
from ssld.models.modes import evaluating

SAME = 1e-4
"""Logits are equal whose largest |difference| is no larger a share of the largest |logit|."""


def create_own(
    maker: object,
    title: str,
    *,
    num_classes: int,
    in_size: int,
    options: Mapping[str, object] | None = None,
    taps: Mapping[str, str] | None = None,
) -> nn.Layer:
    """Make the network that `maker(num_classes=num_classes, **options)` gives, with fresh weights, in training mode.

    maker: a class of `nn.Layer`, or a function that returns one: images float32 [N, 3, in_size, in_size] -> logits
    float32 [N, num_classes]. It is given `in_size` too where its signature has it. title: how messages call it, such as
    `nets.py:Tiny`. options: what else it takes. taps: name of a tap -> path of the layer whose output that is
    (`body.2`); `classifier` names the layer that makes the logits, if it is not the attribute `classifier`.

    The network has `arch` (`Tiny`), `num_classes` and `in_size`, which it may have set itself, and `tap_paths`. Its
    parameters have the same names however many networks were made before. It is run on two drawn images in evaluation
    mode. It raises RecipeError, one line that begins with `title`: for a signature, an option or a path that does not
    fit, an exception in its code, a result that is no layer, parameters that would not be trained or share a name,
    logits of another shape or not finite, a tap that cannot be had, and a classifier that does not make the logits.
    """
    check_whole(title, num_classes=num_classes, in_size=in_size)
    arch = title.rpartition(":")[2]
    make = _maker(maker, title)
    arguments = _arguments(make, title, {"num_classes": num_classes, "in_size": in_size}, options or {})
    with paddle.utils.unique_name.guard(f"{arch}_"):
        network = call_own(make, f"{title}: making it", **arguments)
    _check_layer(network, title)
    adopt(network, title, arch=arch, num_classes=num_classes, in_size=in_size, taps=taps)
    return network


def adopt(
    network: nn.Layer, title: str, *, arch: str, num_classes: int, in_size: int, taps: Mapping[str, str] | None = None
) -> None:
    """Give a network of one's own the attributes that networks have here, and check it as `create_own` does."""
    _check_parameters(network, title)
    for name, value in (("arch", arch), ("num_classes", num_classes), ("in_size", in_size)):
        _set_fact(network, name, value, title)
    _set_taps(network, taps or {}, title)
    _try(network, title, num_classes, in_size)


def classes_of(network: nn.Layer, title: str, in_size: int) -> int:
    """Count the logits that a network gives of an image of `in_size` pixels a side.

    It is run on two drawn images in evaluation mode. It raises RecipeError, one line that begins with `title`, where
    that fails or gives no logits float32 [2, classes].
    """
    images = _drawn(in_size)
    with evaluating(network), paddle.no_grad():
        logits = call_own(network, f"{title}: a forward pass of images {list(images.shape)}", images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shown = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise RecipeError(f"{title}: returns {shown} for 2 images; return one tensor, logits [N, classes]")
    _check_logits(logits, title, [2, logits.shape[1]])
    return int(logits.shape[1])


def _maker(maker: object, title: str) -> Callable[..., object]:
    """Return what makes the network. It raises RecipeError where that is no class of layers and no function."""
    if not callable(maker) or isinstance(maker, nn.Layer):
        raise RecipeError(f"{title}: is a {type(maker).__name__}; name a class of paddle.nn.Layer, or a function")
    if inspect.isclass(maker) and not issubclass(maker, nn.Layer):
        raise RecipeError(f"{title}: is a class that is no paddle.nn.Layer; derive it from paddle.nn.Layer")
    return maker


def _arguments(
    maker: Callable[..., object], title: str, numbers: Mapping[str, int], options: Mapping[str, object]
) -> dict[str, object]:
    """Return the arguments of the maker. It raises RecipeError where they do not fit its signature."""
    parameters = inspect.signature(maker).parameters
    accepted = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option in numbers:
            raise RecipeError(f"{title}: option {option!r} is given by the recipe's images and classes; remove it")
        if option not in accepted and not takes_all:
            hint = did_you_mean(option, set(accepted) - numbers.keys())
            raise RecipeError(
                f"{title}: no option {option!r}{hint}; it takes {_listed(set(accepted) - numbers.keys())}"
            )
    if "num_classes" not in accepted and not takes_all:
        raise RecipeError(f"{title}: takes no num_classes, the number of logits; give it a parameter of that name")
    arguments = {
        **{name: number for name, number in numbers.items() if name in accepted or name == "num_classes"},
        **options,
    }
    lacking = [p.name for p in parameters.values() if p.default is p.empty and p.name in {*accepted} - arguments.keys()]
    if lacking:
        raise RecipeError(f"{title}: needs {_listed(lacking)}; give it in `options`, or give it a default in the code")
    try:
        inspect.signature(maker).bind(**arguments)
    except TypeError as error:
        raise RecipeError(f"{title}: its parameters cannot be given by name ({error}); mend its signature") from None
    return copy.deepcopy(arguments)  # its code may change them


def _listed(names: Sequence[str] | set[str]) -> str:
    return ", ".join(sorted(names)) or "no option"


def _check_layer(network: Any, title: str) -> None:
    if not isinstance(network, nn.Layer):
        raise RecipeError(f"{title}: gives a {type(network).__name__}; return a paddle.nn.Layer")


def _check_parameters(network: nn.Layer, title: str) -> None:
    """Raise RecipeError for parameters that would be trained wrongly, or not at all, in silence."""
    named = dict(network.named_parameters())
    for key, parameter in named.items():
        if parameter.dtype != paddle.float32:
            kind = str(parameter.dtype).rpartition(".")[2]
            raise RecipeError(f"{title}: its parameter {key} is {kind}; make it float32 (mixed precision is optim.amp)")
    name, times = max(Counter(p.name for p in named.values()).items(), key=lambda item: item[1], default=("", 0))
    if times > 1:
        what = f"{times} of its parameters have the name {name!r}, and an optimizer would mix them up"
        raise RecipeError(f"{title}: {what}; make them without a name or a name guard of their own")
    registered = {id(parameter) for parameter in named.values()}
    for path, parameter in _unregistered(network):
        if id(parameter) not in registered:
            what = f"{path} holds parameters in a plain list, tuple or dict, where nothing trains or saves them"
            raise RecipeError(f"{title}: {what}; use nn.LayerList, nn.LayerDict or nn.ParameterList")


def _unregistered(network: nn.Layer) -> Iterator[tuple[str, Tensor]]:
    """Yield (path of an attribute, parameter) of what lists, tuples and dicts hold that a layer set itself."""
    plain = vars(nn.Layer()).keys()
    for path, layer in network.named_sublayers(include_self=True):
        for name, value in vars(layer).items():
            if name in plain or not isinstance(value, (list, tuple, dict)):
                continue
            for element in value.values() if isinstance(value, dict) else value:
                inner = element.parameters() if isinstance(element, nn.Layer) else [element]
                yield from (
                    (f"{path}.{name}".lstrip("."), item)
                    for item in inner
                    if isinstance(item, Tensor) and item.is_leaf and not item.stop_gradient
                )


def _set_fact(network: nn.Layer, name: str, value: str | int, title: str) -> None:
    """Set an attribute that networks have here. One of its own must mean the same; `arch` may be any text."""
    own = getattr(network, name, None)
    if own is None:
        setattr(network, name, value)
    elif type(own) is not type(value) or (own != value and name != "arch"):
        raise RecipeError(f"{title}: its attribute {name} is {own!r:.60}, not {value!r}; call it otherwise")


def _set_taps(network: nn.Layer, taps: Mapping[str, str], title: str) -> None:
    if taps and tapping.speaks(network):
        raise RecipeError(f"{title}: has a method `outputs` and so names its taps itself; remove taps, or the method")
    if tapping.LOGITS in taps:
        raise RecipeError(f"{title}: taps.logits: logits are what the network returns; give the tap another name")
    for name, path in taps.items():
        if not isinstance(path, str) or tapping.sublayer(network, path) is None:
            raise RecipeError(f"{title}: taps.{name}: {tapping.no_layer(network, str(path))}")
    if not tapping.speaks(network):
        network.tap_paths = {**tapping.tap_paths(network), **taps}


@paddle.no_grad()
def _try(network: nn.Layer, title: str, num_classes: int, in_size: int) -> None:
    """Run the network on two drawn images, for its logits, its classifier and its taps."""
    images = _drawn(in_size)
    what = f"{title}: a forward pass of images {list(images.shape)}"
    with evaluating(network):
        logits = call_own(network, what, images)
        _check_logits(logits, title, [2, num_classes])
        names = tapping.taps_of(network)
        try:
            if tapping.classifier_of(network) is not None:
                _check_classifier(network, images, logits)
            outputs = call_own(tapping.outputs_of, what, network, images, names)
        except (RecipeError, RunError) as error:
            message = str(error).removeprefix(f"{title}: ").removeprefix(f"{tapping.called(network)}: ")
            raise RecipeError(f"{title}: {message}") from error
    _check_taps(outputs, names, logits, title)


def _drawn(size: int) -> Tensor:
    """Draw two images of `size` pixels a side; their numbers are about those of normalised images."""
    shape = [2, 3, size, size]
    return paddle.to_tensor(np.random.default_rng(0).standard_normal(shape, dtype="float32"))


def _check_logits(logits: Any, title: str, shape: list[int]) -> None:
    if not isinstance(logits, Tensor):
        raise RecipeError(f"{title}: returns a {type(logits).__name__}; return one tensor, logits [N, {shape[1]}]")
    if list(logits.shape) != shape or logits.dtype != paddle.float32:
        kind = f"{str(logits.dtype).rpartition('.')[2]} {list(logits.shape)}"
        raise RecipeError(f"{title}: returns {kind} for 2 images of {shape[1]} classes; return logits float32 {shape}")
    if not bool(paddle.isfinite(logits).all()):
        raise RecipeError(f"{title}: its logits of drawn images are not finite; correct how its weights begin")


def _check_classifier(network: nn.Layer, images: Tensor, logits: Tensor) -> None:
    view = tapping.classifier_view(network, entering=False)
    output = tapping.read([view], network, images)[tapping.CLASSIFIER]
    if output.size != logits.size or not _same(output.reshape(logits.shape), logits):
        what = f"{view.path} does not make the logits, what it returns is not what the network returns"
        raise RecipeError(
            f"{what}; name the layer that does with taps: {{classifier: PATH}}, or call this one otherwise"
        )


def _check_taps(outputs: Mapping[str, Any], names: frozenset[str], logits: Tensor, title: str) -> None:
    for name in sorted({tapping.LOGITS, *names}):
        if name not in outputs:
            raise RecipeError(f"{title}: its `outputs` gives no {name!r}; return it under that name")
        value = outputs[name]
        if not isinstance(value, Tensor) or not value.shape or value.shape[0] != 2:
            kind = list(value.shape) if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise RecipeError(
                f"{title}: tap {name!r} is {kind} for 2 images; give a tensor whose first axis is the image"
            )
    if not _same(outputs[tapping.LOGITS], logits):
        raise RecipeError(f"{title}: its `outputs` gives other logits than its forward pass; call the same layers")


def _same(values: Tensor, reference: Tensor) -> bool:
    return bool((values - reference).abs().max() <= SAME * reference.abs().max())
