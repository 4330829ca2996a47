"""What the golden files of every group of methods share: tensors, terms and what their layers depend on."""

from collections.abc import Callable

import numpy as np
import paddle

from ssld.interfaces import Outputs
from ssld.losses import About, build_terms
from ssld.losses.objective import Objective

Arrays = dict[str, np.ndarray]
Method = Callable[[Arrays, list[str]], Arrays]


def tensor(array: np.ndarray, gradient: bool = False) -> paddle.Tensor:
    return paddle.to_tensor(array, stop_gradient=not gradient)


def value(kind: str, options: dict, student: dict, teacher: dict, helpers=None, **batch) -> paddle.Tensor:
    """The loss of a term on outputs by name; `batch` holds what else it reads."""
    objective = Objective(build_terms({kind: options}))
    own, taught = (given if isinstance(given, Outputs) else Outputs(given) for given in (student, teacher))
    return objective(own, taught, batch, {kind: helpers} if helpers else {})[0]


def about(student: dict, teacher: dict, **more) -> About:
    shapes = [{name: tuple(value.shape[1:]) for name, value in given.items()} for given in (student, teacher)]
    given = {"classes": 10, "images": 20, "labels": np.arange(20) % 10, "steps": 2, "steps_per_epoch": 1}
    given |= {"micro": 4, "world": 1, "seed": 0, **more}
    return About(student=shapes[0], teacher=shapes[1], **given)
