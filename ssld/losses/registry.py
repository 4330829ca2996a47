"""The losses of this folder, the check of a recipe's `loss:` mapping, and the weighted sum that a stage minimises.

Paddle is imported by the file of a loss, not here: a recipe is checked before anything heavy loads.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssld.errors import RecipeError, did_you_mean
from ssld.registry import Registry

if TYPE_CHECKING:
    from paddle import Tensor

LOSSES = Registry("loss", __file__, "ssld.losses")

_TYPES = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}


def check_terms(terms: Mapping[str, Mapping[str, Any]], where: str = "loss") -> None:
    """Check a mapping {loss name: {"weight": 1.0, option: value}} without importing Paddle.

    `where` begins each message, such as "recipes/a.yaml: stages.distill.loss". Raises RecipeError for no terms, an
    unknown loss or option (with the nearest name), a value of the wrong type, and weights that are negative or all 0.
    """
    if not terms:
        raise RecipeError(f"{where}: no terms; name at least one loss, such as ssld: {{weight: 1.0}}")
    for name, options in terms.items():
        if name not in LOSSES.names():
            raise RecipeError(f"{where}: no loss named {name!r}{did_you_mean(name, LOSSES.names())}")
        if not isinstance(options, Mapping):
            raise RecipeError(f"{where}.{name}: {options!r} is not a mapping; write {name}: {{weight: 1.0}}")
        known = {"weight": "float", **LOSSES.options(name)}
        for option, value in options.items():
            if option not in known:
                raise RecipeError(f"{where}.{name}: no option {option!r}{did_you_mean(option, known)}")
            _check_value(f"{where}.{name}.{option}", value, known[option])
        if options.get("weight", 1.0) < 0:
            raise RecipeError(f"{where}.{name}.weight: {options['weight']} is negative; use 0 or more")
    if all(options.get("weight", 1.0) == 0 for options in terms.values()):
        raise RecipeError(f"{where}: every weight is 0; give one loss a positive weight")


def _check_value(where: str, value: Any, annotation: str) -> None:
    """Compare a value with an annotation as written in the source: float, int, bool, str or Literal['a', 'b']."""
    if annotation.startswith("Literal["):
        choices = ast.literal_eval(f"({annotation[len('Literal[') : -1]},)")
        if value not in choices:
            raise RecipeError(f"{where}: {value!r} is none of {', '.join(choices)}{did_you_mean(value, choices)}")
        return
    wrong_bool = isinstance(value, bool) and annotation != "bool"
    if wrong_bool or not isinstance(value, _TYPES[annotation]):
        raise RecipeError(f"{where}: {value!r} is not a {annotation}")
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{where}: {value} is not finite; give a number")


class Objective:
    """The weighted sum of one or more losses; it keeps the parts for the log.

    `Objective({"ssld": {"weight": 1.0}, "ce": {"weight": 0.5, "smoothing": 0.1}})`. The weight (default 1) multiplies
    also when there is only one term. Raises RecipeError as `check_terms` does, and for an option out of range.
    """

    def __init__(self, terms: Mapping[str, Mapping[str, Any]]):
        check_terms(terms)
        self.weights = {name: float(options.get("weight", 1.0)) for name, options in terms.items()}
        self.losses = {
            name: LOSSES.build(name, **{option: value for option, value in options.items() if option != "weight"})
            for name, options in terms.items()
        }

    @property
    def needs_label(self) -> bool:
        """Whether any term reads `batch["label"]`."""
        return any(loss.needs_label for loss in self.losses.values())

    def __call__(
        self, student: Tensor, teacher: Tensor | None, batch: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return (weighted sum, {"loss/<name>": the part before its weight, detached}), all scalar tensors.

        student and teacher: logits [b, classes]. `teacher` is None where no term needs it.
        """
        from paddle.amp import auto_cast

        with auto_cast(enable=False):  # level O2 would run differences of log-probabilities in 16 bits
            parts = {name: loss(student, teacher, batch) for name, loss in self.losses.items()}
            total = sum(self.weights[name] * part for name, part in parts.items())
        return total, {f"loss/{name}": part.detach() for name, part in parts.items()}
