"""Define a sweep: which keys of a recipe take which values. Names and meanings are those of W&B's sweep schema.

recipe: quickstart
method: grid
metric: {name: top1, goal: maximize}
parameters:
  stages.distill.optim.lr: {values: [0.05, 0.1, 0.2]}
"""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, ClassVar, Literal

from ssld import yaml_text
from ssld.config import baseline, parse, recipe
from ssld.config.keys import plain
from ssld.errors import RecipeError, did_you_mean
from ssld.paths import data_root, shelf
from ssld.spec.names import check_name
from ssld.spec.ranges import Range, Several, Text

Trial = dict[str, object]
End = Annotated[int | float, Range(least=-(10**12), most=10**12)]
NEEDS = {  # maps a distribution to the keys that it must have; only `q` may be added
    "constant": ("value",),
    "categorical": ("values",),
    "uniform": ("min", "max"),
    "int_uniform": ("min", "max"),
    "q_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
}
GRID = ("constant", "categorical", "int_uniform")
MOST_VALUES = 1_000_000  # of one key
MOST_TRIALS = 10_000  # of a grid that is run as a whole
DRAWS = 1000  # random draws for each wanted trial, before a small space counts as used up


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Name the number that trials are compared by, and say whether more of it is better."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: Text = "top1"
    goal: Literal["maximize", "minimize"] = "maximize"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """Hold the values of one key.

    Without `distribution` a `value` is constant, `values` are categorical, and `min` and `max` are uniform (int_uniform
    where both are whole numbers).
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    value: object = None
    values: Annotated[tuple[object, ...], Several()] | None = None
    distribution: (
        Literal["constant", "categorical", "uniform", "int_uniform", "q_uniform", "log_uniform_values"] | None
    ) = None
    min: End | None = None
    max: End | None = None
    q: Annotated[int | float, Range(above=0, most=10**12)] | None = None  # step of q_uniform; null is 1

    @property
    def kind(self) -> str:
        """Return the distribution, or the one that follows from the other keys."""
        if self.distribution:
            return self.distribution
        if self.value is not None:
            return "constant"
        if self.values is not None:
            return "categorical"
        return "int_uniform" if isinstance(self.min, int) and isinstance(self.max, int) else "uniform"

    def given(self) -> dict[str, object]:
        """Return the keys that the file gives."""
        return {key: value for key, value in plain(self).items() if value is not None}

    def grid(self) -> Sequence[object]:
        """Return every value, in order."""
        if self.kind == "int_uniform":
            assert self.min is not None
            assert self.max is not None
            return range(int(self.min), int(self.max) + 1)
        return [self.value] if self.kind == "constant" else list(self.values or ())

    def draw(self, share: float) -> object:
        """Return the value below which this share (0 to 1) of all draws lies; of a list it is the value at that place.

        Floats keep 6 significant digits, because they are typed, printed and compared.
        """
        if self.kind in GRID:
            values = self.grid()
            return values[int(share * len(values))]
        low, high = float(self.min or 0), float(self.max or 0)
        if self.kind == "log_uniform_values":
            return _short(low * (high / low) ** share, low, high)
        value = low + (high - low) * share
        if self.kind == "uniform":
            return _short(value, low, high)
        q = self.q or 1
        return round(value / q) * q if isinstance(q, int) else float(f"{round(value / q) * q:.10g}")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Hold a whole sweep file. `name` is by default that of the file."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: Text
    recipe: Text
    method: Literal["grid", "random"]
    metric: Metric = field(default_factory=Metric)
    parameters: dict[str, Parameter]


def load(path: str) -> Sweep:
    """Read and check a sweep file, or one of `recipes/sweeps` by its name. Raises RecipeError."""
    file = _locate(path)
    tree = yaml_text.read_mapping(file, "a sweep")
    sweep = parse.build(Sweep, {"name": file.stem, **tree}, path)
    check_name(sweep.name, f"{path}: name")
    if not sweep.parameters:
        raise RecipeError(f"{path}: parameters: a sweep needs at least one; name a key of the recipe")
    if sweep.metric.name.startswith("test_"):
        what = "trials are compared on validation images, and test images are shown after all choices"
        raise RecipeError(f"{path}: metric.name: {what}; sort by top1 or another number of the validation images")
    for key, parameter in sweep.parameters.items():
        _check(parameter, sweep.method, f"{path}: parameters.{key}")
    return sweep


def _locate(path: str) -> Path:
    if Path(path).is_file():
        return Path(path)
    files_by_name = {file.stem: file for file in (shelf("recipes") / "sweeps").glob("*.yaml")}
    name = Path(path).stem
    if name in files_by_name and Path(path).parent.as_posix() in (".", "recipes/sweeps"):
        return files_by_name[name]
    raise RecipeError(
        f"{path}: no such sweep{did_you_mean(name, files_by_name) or '; docs/tracking.md says how to write one'}"
    )


def _check(parameter: Parameter, method: str, where: str) -> None:
    """Check that a parameter says enough and not too much, and that a grid or a command line can hold its values.

    Raises RecipeError otherwise.
    """
    kind, keys = parameter.kind, parameter.given().keys() - {"distribution"}
    needed = NEEDS[kind]
    allowed = {*needed, "q"} if kind == "q_uniform" else {*needed}
    if keys - allowed or not keys.issuperset(needed):
        raise RecipeError(
            f"{where}: {kind} takes {' and '.join(sorted(allowed))}; got {', '.join(sorted(keys)) or 'none'}"
        )
    if method == "grid" and kind not in GRID:
        raise RecipeError(f"{where}: a grid cannot hold every value of {kind}; give values, or method: random")
    if needed == ("min", "max"):
        _check_range(parameter, where)
    for value in parameter.grid() if kind in ("constant", "categorical") else ():
        if not _typed(value):
            raise RecipeError(
                f"{where}: {value!r} cannot stand on a command line; give numbers, text, true, false, lists"
            )


def _check_range(parameter: Parameter, where: str) -> None:
    assert parameter.min is not None
    assert parameter.max is not None
    if not parameter.min < parameter.max:
        raise RecipeError(f"{where}: min {parameter.min} is not below max {parameter.max}; swap or change them")
    if parameter.kind == "log_uniform_values" and parameter.min <= 0:
        raise RecipeError(f"{where}.min: a logarithm needs more than 0; got {parameter.min}")
    if parameter.kind == "int_uniform" and not all(isinstance(x, int) for x in (parameter.min, parameter.max)):
        raise RecipeError(f"{where}: int_uniform needs whole numbers; got {parameter.min} and {parameter.max}")
    if parameter.kind == "int_uniform" and len(parameter.grid()) > MOST_VALUES:
        raise RecipeError(f"{where}: has {len(parameter.grid()):,} values; give at most {MOST_VALUES:,}")


def _typed(value: object) -> bool:
    """Return whether a value can stand on a command line.

    W&B's agent types a value as Python prints it. That of null or of a mapping, and text that looks like something
    else, would be read as another value.
    """
    if isinstance(value, str):
        try:
            return bool(yaml_text.parse(value) == value)
        except RecipeError:
            return False
    return all(map(_typed, value)) if isinstance(value, list) else isinstance(value, (bool, int, float))


def trials(sweep: Sweep, count: int | None, seed: int) -> list[Trial]:
    """Return the trials, each of which maps keys to values. No two are the same.

    A grid gives its trials in order, the last key fastest, `count` of them (None for all). Random draw i follows from
    (seed, i) alone, so that a larger count goes on where a smaller one ended; there are fewer than `count` where the
    space holds no more. Raises RecipeError for random without a count, and where the metric is the gain and a trial
    will have none.
    """
    if count is None and sweep.method == "random":
        raise RecipeError(f"{sweep.name}: method random has no end; give --count N")
    size = math.prod(len(parameter.grid()) for parameter in sweep.parameters.values())
    if count is None and size > MOST_TRIALS:
        raise RecipeError(f"{sweep.name}: the grid has {size:,} trials; give --count N, at most {MOST_TRIALS:,}")
    distinct: dict[str, Trial] = {}
    for values in _grid(sweep) if sweep.method == "grid" else _draws(sweep, seed, DRAWS * (count or 1)):
        trial = dict(zip(sweep.parameters, values, strict=True))
        distinct.setdefault(json.dumps(trial), trial)
        if len(distinct) == count:
            break
    if sweep.metric.name == "gain":
        _check_gain(sweep, distinct.values())
    return list(distinct.values())


def _check_gain(sweep: Sweep, all_trials: Iterable[Trial]) -> None:
    """Check that the run of every trial will have a baseline, and so a gain to sort by.

    Raises RecipeError otherwise.
    """
    for trial in all_trials:
        reason = baseline.missing(recipe.load(sweep.recipe, overrides(trial)), data_root())
        if reason:
            what = f"a run of {sweep.recipe} has no gain, as it has no baseline: {reason}"
            raise RecipeError(f"{sweep.name}: metric.name: {what}; name a stage as `baseline:`, or sort by top1")


def _grid(sweep: Sweep) -> Iterator[tuple[object, ...]]:
    return itertools.product(*(parameter.grid() for parameter in sweep.parameters.values()))


def _draws(sweep: Sweep, seed: int, count: int) -> Iterator[list[object]]:
    for number in range(count):
        rng = Random(f"{seed}/{number}")
        yield [parameter.draw(rng.random()) for parameter in sweep.parameters.values()]


def overrides(trial: Trial) -> list[str]:
    """Return a trial as `key.path=value` arguments of `ssld run`."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in trial.items()]


def wandb_tree(sweep: Sweep, count: int | None, options: list[str]) -> dict[str, object]:
    """Return the sweep as W&B takes it. Its agent types `ssld run RECIPE key.path=value ... --wandb online`."""
    tree: dict[str, object] = {"name": sweep.name, "program": sweep.recipe, "method": sweep.method}
    tree["metric"] = plain(sweep.metric)
    tree["parameters"] = {key: parameter.given() for key, parameter in sweep.parameters.items()}
    tree["command"] = ["ssld", "run", "${program}", "${args_no_hyphens}", "--wandb", "online", *options]
    return tree | ({"run_cap": count} if count else {})


def _short(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.6g}"), low), high)
