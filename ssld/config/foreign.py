"""Define what a recipe says of a network that another framework trained: its input and its outputs.

Nothing here imports PaddlePaddle.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ssld.errors import RecipeError

Channels = tuple[float, float, float]
LOGITS = "logits"  # name of the output that every network has, so that no tap may have it


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Describe the images that a network is fed: a square of `size` pixels with normalised values.

    A normalised value is the value divided by 255, less `mean`, over `std`. `mean` and `std` are always given in the
    order red, green, blue. A network that takes values from 0 to 255 has a mean of 0 and a std of 1/255.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    size: int  # pixels, height and width
    mean: Channels
    std: Channels
    layout: Literal["nchw", "nhwc"] = "nchw"  # order of the axes: image, channel, height, width
    channels: Literal["rgb", "bgr"] = "rgb"  # order of the channels


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Describe a network from elsewhere: its input, its scores, and the tensors that a loss may read."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    input: InputSpec
    gives: Literal["logits", "probabilities"]  # content of the output, without a default because a guess may be wrong
    output: str | None = None  # name of the tensor with the scores of the classes; null is the only output
    classes_file: str | None = None  # index of each class of the recipe in the output; null is the same order
    taps: dict[str, str] = field(default_factory=dict)  # maps the name of a tap to that of a tensor of the network


@dataclass(frozen=True, kw_only=True)
class AccuracyCheck:
    """Say how a network from elsewhere proves on labelled validation images that its input and output are right."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    images: int = 2000  # labelled validation images that are scored before the first step; 0 skips the check
    least_top1: float = 0.0  # percent; a lower top-1 is refused, and always one at about chance


def check_network(spec: NetworkSpec, where: str) -> None:
    """Check that the values describe a network. Raises RecipeError otherwise.

    `where` precedes the key, such as `mine.yaml: teachers.vit.`.
    """
    if spec.input.size < 1:
        raise RecipeError(f"{where}input.size: {spec.input.size} pixels; give 1 or more")
    for value in spec.input.std:
        if not value > 0:
            raise RecipeError(f"{where}input.std: {value:g} is not above 0; a network without one has 1, 1, 1")
    if LOGITS in spec.taps:
        raise RecipeError(f"{where}taps.{LOGITS}: this name belongs to the scores of the classes; choose another")


def check_accuracy_check(check: AccuracyCheck, where: str) -> None:
    """Check that a number of images, and a network, could pass the check. Raises RecipeError otherwise."""
    if check.images < 0:
        raise RecipeError(f"{where}images: {check.images}; give a number of images, or 0 for no check")
    if not 0 <= check.least_top1 <= 100:
        raise RecipeError(f"{where}least_top1: {check.least_top1:g}; give percent, 0 to 100")
