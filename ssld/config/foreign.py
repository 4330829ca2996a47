"""Define what a recipe says of a network that another framework trained: its input and its outputs.

Nothing here imports PaddlePaddle.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ssld.errors import RecipeError
from ssld.spec.ranges import CountOrNone, Deviations, Means, Percent, Pixels, Text, check_fields

LOGITS = "logits"  # name of the output that every network has, so that no tap may have it


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Describe the images that a network is fed: a square of `size` pixels with normalised values.

    A normalised value is the value divided by 255, less `mean`, over `std`. `mean` and `std` are always given in the
    order red, green, blue. A network that takes values from 0 to 255 has a mean of 0 and a std of 1/255.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    size: Pixels  # height and width
    mean: Means
    std: Deviations
    layout: Literal["nchw", "nhwc"] = "nchw"  # order of the axes: image, channel, height, width
    channels: Literal["rgb", "bgr"] = "rgb"  # order of the channels


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Describe a network from elsewhere: its input, its scores, and the tensors that a loss may read."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    input: InputSpec
    gives: Literal["logits", "probabilities"]  # content of the output, without a default because a guess may be wrong
    output: Text | None = None  # name of the tensor with the scores of the classes; null is the only output
    classes_file: Text | None = None  # index of each class of the recipe in the output; null is the same order
    taps: dict[str, Text] = field(default_factory=dict)  # maps the name of a tap to that of a tensor of the network


@dataclass(frozen=True, kw_only=True)
class AccuracyCheck:
    """Say how a network from elsewhere proves on labelled validation images that its input and output are right."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    images: CountOrNone = 2000  # labelled validation images that are scored before the first step; 0 skips the check
    least_top1: Percent = 0.0  # percent; a lower top-1 is refused, and always one at about chance


def check_network(spec: NetworkSpec, where: str) -> None:
    """Check the ranges of the input, and that no tap has the name of the scores. Raises RecipeError otherwise.

    `where` precedes the key, such as `mine.yaml: teachers.vit.`.
    """
    check_fields(spec.input, f"{where}input.")
    if LOGITS in spec.taps:
        raise RecipeError(f"{where}taps.{LOGITS}: this name belongs to the scores of the classes; choose another")
