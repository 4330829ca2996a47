"""Make the optimizer, the learning rate and the averaged weights of a stage."""

import math
from collections.abc import Mapping
from typing import Protocol

import paddle
from paddle import Tensor, nn

from ssld.config.optim import Optim
from ssld.distill.dot import Dot
from ssld.errors import RunError
from ssld.interfaces import Parameter
from ssld.models.taps import called


class Optimizer(Protocol):
    """Say what a stage asks of an optimiser, which is one of Paddle's or `Dot`."""

    def set_lr(self, value: float, /) -> None: ...

    def get_lr(self) -> float: ...

    def step(self) -> None: ...

    def clear_grad(self, set_to_zero: bool) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def set_state_dict(self, state: Mapping[str, Tensor], /) -> None: ...


def learning_rate(optim: Optim, step: int, steps: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step from 0 to steps - 1.

    It warms up linearly to `lr` and is then the share of it that `schedule` leaves (`_left`). It is a closed form of
    the step, so that a resumed run needs no scheduler state.
    """
    warmup = min(round(optim.warmup_epochs * steps_per_epoch), steps - 1)
    if step < warmup:
        return optim.lr * (step + 1) / warmup
    return optim.lr * _left(optim, step, warmup, steps, steps_per_epoch)


def _left(optim: Optim, step: int, warmup: int, steps: int, steps_per_epoch: int) -> float:
    """Return the share of `lr` that a step after the warm-up has.

    `cosine` is half a wave from 1 to 0 (SGDR without restarts, arXiv:1608.03983). `cosine_by_epoch` is the same wave,
    constant within each epoch, as Paddle 1.x's `cosine_decay` computes it. `step` and `exponential` are `gamma` to the
    power of the number of decays so far.
    """
    past = step - warmup
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "step":
        return float(optim.gamma ** sum(step >= round(epoch * steps_per_epoch) for epoch in optim.milestones))
    if optim.schedule == "exponential":
        return float(optim.gamma ** math.floor(past / (optim.decay_epochs * steps_per_epoch)))
    if optim.schedule == "cosine_by_epoch":
        past -= past % steps_per_epoch
    return 0.5 * (1 + math.cos(math.pi * past / (steps - warmup)))


def make_optimizer(optim: Optim, parameters: list[Parameter]) -> Optimizer:
    """Make the optimizer that the recipe names: Momentum, AdamW, LAMB, RMSProp or DOT.

    Biases and the scales of normalisations (parameters of one dimension) decay only with `decay_all`. There are no
    parameter groups, because Paddle clips the gradient norm of each group by itself.
    """
    decayed = {p.name for p in parameters if p.ndim > 1 or optim.decay_all}
    if optim.algorithm == "dot":
        return Dot(parameters, optim.lr, optim.momentum, optim.delta, dict.fromkeys(decayed, optim.weight_decay))
    if optim.algorithm == "adamw":
        kind = paddle.optimizer.AdamW
        own = {"weight_decay": optim.weight_decay, "apply_decay_param_fun": decayed.__contains__}
    elif optim.algorithm == "lamb":
        kind = paddle.optimizer.Lamb
        spared = {p.name for p in parameters} - decayed
        own = {"lamb_weight_decay": optim.weight_decay, "exclude_from_weight_decay_fn": lambda p: p.name in spared}
    else:
        for p in parameters:
            p.regularizer = paddle.regularizer.L2Decay(optim.weight_decay if p.name in decayed else 0.0)
        kind, own = paddle.optimizer.Momentum, {"momentum": optim.momentum, "use_nesterov": optim.nesterov}
        if optim.algorithm == "rmsprop":
            kind = paddle.optimizer.RMSProp
            own = {"rho": optim.rho, "epsilon": optim.epsilon, "momentum": optim.momentum}
    clip = nn.ClipGradByGlobalNorm(optim.clip_norm) if optim.clip_norm else None
    made: Optimizer = kind(learning_rate=optim.lr, parameters=parameters, grad_clip=clip, **own)
    return made


def check_stages(optim: Optim, network: nn.Layer, where: str) -> None:
    """Check that `stage_lr` has a number for the stem and for each stage of the network.

    Raises RunError otherwise.
    """
    count, needed = len(optim.stage_lr), len(_parts(network)) if optim.stage_lr else 0
    if count and not needed:
        what = f"{called(network)} has no layer `stem` and list of layers `stages`"
        raise RunError(f"{where}.optim.stage_lr: {what}; leave stage_lr out, or give it both")
    if count != needed:
        what = f"{count} numbers; {called(network)} needs {needed}, of its stem and its {needed - 1} stages"
        raise RunError(f"{where}.optim.stage_lr: {what}")


def scale_rates(optim: Optim, network: nn.Layer) -> None:
    """Give the parameters of the stem and of each stage of the network their multiple of the learning rate.

    Parameters that belong to neither, which are those of the head, keep 1. The multiple belongs to a parameter and is
    no state of the optimizer, so that a resumed training sets it anew. It multiplies the whole update with its weight
    decay, both for L2 and for AdamW's decoupled decay. Raises RunError as `check_stages` does.
    """
    if not optim.stage_lr:
        return
    check_stages(optim, network, "stage")
    for rate, layer in zip(optim.stage_lr, _parts(network), strict=True):
        for parameter in layer.parameters():
            parameter.optimize_attr["learning_rate"] = rate


def _parts(network: nn.Layer) -> list[nn.Layer]:
    """Return the stem and the stages of a network, or nothing where the network does not have both."""
    stem, stages = getattr(network, "stem", None), getattr(network, "stages", None)
    if not isinstance(stem, nn.Layer) or not isinstance(stages, (nn.LayerList, nn.Sequential)):
        return []
    return [stem, *stages]


class Average:
    """Keep the exponential moving average of a network's weights and statistics. A `decay` of 0 keeps none.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that early weights are forgotten.
    """

    def __init__(self, network: nn.Layer, decay: float):
        self.decay = decay
        self.state = {key: value.clone().detach() for key, value in network.state_dict().items()} if decay else {}

    @paddle.no_grad()
    def update(self, network: nn.Layer, step: int) -> None:
        """Add the network's values after a step to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items() if self.state else ():
            integral = not value.is_floating_point()  # whole numbers, such as a table of positions, have no mean
            self.state[key].set_value(value if integral else self.state[key] * decay + value * (1 - decay))

    def weights(self, network: nn.Layer) -> dict[str, Tensor]:
        """Return what the stage evaluates and hands on: the average if there is one, else the weights themselves."""
        weights: dict[str, Tensor] = self.state or network.state_dict()
        return weights
