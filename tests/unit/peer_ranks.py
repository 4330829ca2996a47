"""A few steps of two networks that train together, by one process or as a rank among others, see `two_ranks.py`."""

import paddle

from ssld.config.optim import Optim
from ssld.distill import parallel
from ssld.distill.optim import make_optimizer
from ssld.distill.step import Step, Together
from ssld.distill.update import OneGradient
from ssld.losses import build_terms
from ssld.losses.objective import Objective
from tests.unit.dot_ranks import Small, after_steps

LOSSES = {"ce": {}, "dml": {"weight": 2.0}, "udml": {"taps": ["map"]}}


def step_of(seed):
    paddle.seed(seed)
    return Step(Small(), Objective(build_terms(LOSSES)))


def train(here):
    """The parameters of both networks after some steps, as arrays."""
    whole = Together(step_of(0), {"second": step_of(1)})
    trained = [parameter for parameter in whole.parameters() if not parameter.stop_gradient]
    ranks = parallel.Ranks(whole, trained, here, sync_bn=False)
    optimizer = make_optimizer(Optim(lr=0.1, weight_decay=1e-3), trained)
    update = OneGradient(optimizer, ranks, paddle.amp.GradScaler(enable=False))
    return after_steps(here, ranks, update, trained)
