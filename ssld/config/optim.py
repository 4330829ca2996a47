"""How a stage updates its weights, as a recipe says it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

from ssld.config.keys import key
from ssld.errors import RecipeError
from ssld.losses import Term

APART = frozenset({"dot"})
"""Algorithms that take the gradients of the task and of the distillation apart."""
NOT_OF_DOT = ("nesterov", "rho", "epsilon", "clip_norm", "amp")


@dataclass(frozen=True, kw_only=True)
class Optim:
    """How a stage updates the weights. A step's learning rate is a closed form of the step (distill/optim.py)."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    lr: float
    stage_lr: tuple[float, ...] = key(
        (), later=True
    )  # multiplies lr: of the stem, then of each stage of the network; the head has 1
    algorithm: Literal["momentum", "adamw", "rmsprop", "dot"] = "momentum"
    momentum: float = 0.9
    nesterov: bool = False
    rho: float = key(0.9, later=True)  # of rmsprop: share of the mean square that a step keeps
    epsilon: float = key(1e-3, later=True)  # of rmsprop: joins the mean square under the root
    delta: float = key(
        0.075, later=True
    )  # of dot: what the momentum of the distillation has more, and of the task less
    weight_decay: float = 0.0
    decay_all: bool = False  # true: also biases and normalisation scales
    schedule: Literal["cosine", "cosine_by_epoch", "step", "exponential", "constant"] = "cosine"
    warmup_epochs: float = 0.0
    milestones: tuple[float, ...] = key(
        (), later=True
    )  # of step: epochs at whose start the rate is multiplied by gamma
    decay_epochs: float = key(
        0.0, later=True
    )  # of exponential: the rate is multiplied by gamma every so many epochs after the warm-up
    gamma: float = key(0.1, later=True)
    clip_norm: float = 0.0  # global gradient norm; 0 is off
    accumulate: int = 1  # micro-batches of a step
    ema: float = 0.0  # decay of the averaged weights; 0 is off
    amp: Literal["off", "O1"] = "off"  # mixed precision, GPU only


def check_optim(optim: Optim, where: str) -> None:
    """RecipeError for a schedule without its numbers, or with numbers that make no schedule or no rate."""
    if min(optim.stage_lr, default=0) < 0:
        raise RecipeError(f"{where}stage_lr: {min(optim.stage_lr):g} is below 0; 0 leaves a stage as it is")
    if optim.schedule == "step" and not (optim.milestones and sorted(set(optim.milestones)) == [*optim.milestones]):
        given = ", ".join(f"{epoch:g}" for epoch in optim.milestones)
        raise RecipeError(f"{where}milestones: [{given}] with schedule step; give epochs in rising order: [30, 60, 90]")
    if optim.schedule == "exponential" and not optim.decay_epochs > 0:
        raise RecipeError(f"{where}decay_epochs: must be above 0 with schedule exponential; got {optim.decay_epochs}")
    if optim.schedule in ("step", "exponential") and not 0 < optim.gamma <= 1:
        raise RecipeError(f"{where}gamma: must be above 0 and at most 1; got {optim.gamma}")


def check_apart(optim: Optim, terms: Mapping[str, Term], quantized: bool, where: str) -> None:
    """RecipeError for `dot` with what it cannot do, or without terms on both sides; and for its option elsewhere.

    where: the path of the stage, with a dot at its end.
    """
    default = {field.name: field.default for field in fields(optim)}
    if optim.algorithm not in APART:
        if optim.delta != default["delta"]:
            raise RecipeError(f"{where}optim.delta: is of algorithm dot, not of {optim.algorithm}; leave it out")
        return
    for name in NOT_OF_DOT:
        if getattr(optim, name) != default[name]:
            given = getattr(optim, name)
            raise RecipeError(f"{where}optim.{name}: {given} does not go with algorithm dot; leave it out")
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
