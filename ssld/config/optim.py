"""Define how a recipe says that a stage updates its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from ssld.config.keys import key
from ssld.errors import RecipeError
from ssld.losses import Term
from ssld.spec.ranges import Decay, Epochs, Part, Range, Rising

Rate = Annotated[float, Range(above=0, most=1000)]
Multiple = Annotated[float, Range(least=0, most=1000)]
Milestone = Annotated[float, Range(above=0, most=1_000_000)]
APART = frozenset({"dot"})
"""These algorithms take the gradients of the task and of the distillation separately."""
NOT_OF_DOT = ("nesterov", "rho", "epsilon", "clip_norm", "amp")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Say how a stage updates the weights. A step's learning rate is a closed form of the step (distill/optim.py)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    lr: Rate
    # These numbers multiply lr for the stem and then for each stage of the network; the head has 1.
    stage_lr: tuple[Multiple, ...] = key((), later=True)
    algorithm: Literal["momentum", "adamw", "lamb", "rmsprop", "dot"] = "momentum"
    momentum: Decay = 0.9
    nesterov: bool = False
    rho: Decay = key(0.9, later=True)  # for rmsprop, the share of the mean square that a step keeps
    epsilon: Part = key(1e-3, later=True)  # for rmsprop, the number that is added to the mean square under the root
    # For dot, this number is added to the momentum of the distillation and subtracted from that of the task.
    delta: Decay = key(0.075, later=True)
    weight_decay: Annotated[float, Range(least=0, most=10)] = 0.0
    decay_all: bool = False  # true if biases and normalisation scales decay too
    schedule: Literal["cosine", "cosine_by_epoch", "step", "exponential", "constant"] = "cosine"
    warmup_epochs: Epochs = 0.0
    # For the schedule step, the rate is multiplied by gamma at the start of each of these epochs.
    milestones: Annotated[tuple[Milestone, ...], Rising(strict=True)] = key((), later=True)
    # For the schedule exponential, the rate is multiplied by gamma every so many epochs after the warm-up.
    decay_epochs: Epochs = key(0.0, later=True)
    gamma: Part = key(0.1, later=True)
    clip_norm: Annotated[float, Range(least=0, most=1_000_000)] = 0.0  # largest global gradient norm; 0 is off
    accumulate: Annotated[int, Range(least=1, most=10_000)] = 1  # micro-batches of a step
    ema: Decay = 0.0  # decay of the averaged weights; 0 is off
    amp: Literal["off", "O1"] = "off"  # mixed precision, GPU only


def check_optim(optim: Optim, where: str) -> None:
    """Check that a schedule has its numbers. Raises RecipeError otherwise."""
    if optim.schedule == "step" and not optim.milestones:
        raise RecipeError(f"{where}milestones: none with schedule step; give epochs in rising order: [30, 60, 90]")
    if optim.schedule == "exponential" and not optim.decay_epochs:
        raise RecipeError(f"{where}decay_epochs: should be above 0 with schedule exponential; got 0")


def check_apart(optim: Optim, terms: Mapping[str, Term], quantized: bool, where: str) -> None:
    """Check that `dot` goes with the other keys of a stage, which must have terms on both sides.

    Raises RecipeError otherwise, and for the option of `dot` with another algorithm. `where` is the path of the stage,
    with a dot at its end.
    """
    default = {field.name: field.default for field in fields(optim)}
    if optim.algorithm not in APART:
        if optim.delta != default["delta"]:
            raise RecipeError(f"{where}optim.delta: is of algorithm dot, not of {optim.algorithm}; leave it out")
        return
    for name in NOT_OF_DOT:
        if getattr(optim, name) != default[name]:
            value = getattr(optim, name)
            raise RecipeError(f"{where}optim.{name}: {value} does not go with algorithm dot; leave it out")
    if not 0 <= optim.delta <= optim.momentum or not optim.momentum + optim.delta < 1:
        what = f"{optim.delta:g} with momentum {optim.momentum:g}"
        raise RecipeError(f"{where}optim.delta: {what}; give 0 to momentum, both together below 1")
    if quantized:
        raise RecipeError(f"{where}optim.algorithm: dot does not train a quantised stage; take momentum")
    sides = {term.learns_from for term in terms.values()}
    if len(sides) == 1:
        missing = "a teacher" if sides == {"task"} else "labels, such as ce"
        what = f"dot needs terms on both sides, and every term is on the side {min(sides)}"
        raise RecipeError(f"{where}optim.algorithm: {what}; add one that learns from {missing}, or take momentum")
