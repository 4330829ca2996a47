"""A few steps of DOT, by one process or as a rank among others, see `two_ranks.py`."""

import numpy as np
import paddle
from paddle import nn

from ssld.config.optim import Optim
from ssld.distill import parallel
from ssld.distill.optim import make_optimizer
from ssld.distill.step import Step
from ssld.distill.update import TwoGradients
from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.objective import Objective

PARTS, STEPS, CLASSES = 2, 3, 4  # micro-batches of a step, on one rank or on one each
LOSSES = {
    "ce": {},
    "kd": {"kind": "kl", "temperature": 4.0},
    "hint": {"student": "map", "teacher": "map", "weight": 10},
}
OPTIM = Optim(lr=0.1, algorithm="dot", weight_decay=1e-3)


class Small(nn.Layer):
    """A network with a tap."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2D(3, 6, 3, 2), nn.Linear(6, CLASSES)

    def outputs(self, images, taps):
        features = nn.functional.relu(self.body(images))
        return {"map": features, "logits": self.head(features.mean(axis=[2, 3]))}


def batch(step, part):
    draw = np.random.default_rng([step, part])
    numbers = {"image": (4, 3, 9, 9), "logits": (4, CLASSES), "map": (4, 5, 4, 4)}
    drawn = {name: paddle.to_tensor(draw.normal(size=size).astype(np.float32)) for name, size in numbers.items()}
    label = paddle.to_tensor(draw.integers(0, CLASSES, 4))
    teacher = Outputs({"logits": drawn["logits"], "map": drawn["map"]})
    return {"image": drawn["image"], "label": label, "teacher": teacher, "step": step}


def train(here):
    """The parameters after some steps, as arrays."""
    paddle.seed(0)
    student, objective = Small(), Objective(build_terms(LOSSES))
    shapes = {"student": {"map": (6, 4, 4)}, "teacher": {"map": (5, 4, 4)}}
    about = About(
        **shapes, classes=CLASSES, images=8, labels=np.zeros(8, np.int64), steps=STEPS, steps_per_epoch=1, micro=4,
        world=here.world, seed=0,
    )  # fmt: skip
    step = Step(student, objective, objective.helpers(lambda name: about), apart=True)
    trained = [parameter for parameter in step.parameters() if not parameter.stop_gradient]
    ranks = parallel.Ranks(step, trained, here, sync_bn=False, apart=True)
    return after_steps(here, ranks, TwoGradients(make_optimizer(OPTIM, trained), ranks), trained)


def after_steps(here, ranks, update, trained):
    """The trained parameters after STEPS steps of a process with all parts of a batch, or of a rank with its own."""
    parts = range(PARTS) if here.world == 1 else [here.rank]
    for number in range(STEPS):
        for part in parts:
            losses, _, _ = ranks.forward(batch(number, part))
            update.backward(losses, len(parts))
        update.step()
    return {str(number): parameter.numpy() for number, parameter in enumerate(trained)}
