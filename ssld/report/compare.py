"""`ssld compare A B` compares two recipes, or two stages, over the seeds that both have.

It names no winner inside the noise.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssld.config import coverage
from ssld.errors import RunError, did_you_mean
from ssld.report import ledger
from ssld.report.seed_statistics import ENOUGH, RESAMPLES, PairedTest, Spread, deviation, p_value, paired_test, spread

PERCENT = ("top1", "top5")  # metrics whose last word is one of these are in percent, their differences in points
SIDE = re.compile(r"(?P<place>[^@]+?)(?:@(?P<digest>[0-9a-f]+))?(?::(?P<stage>[\w-]+))?")
Result = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """Hold one of the two sides: its results of one plan, by seed, and the stage that is compared.

    The stage is None for the end of the run.
    """

    label: str
    results: dict[int, Result]
    stage: str | None

    @property
    def first(self) -> Result:
        """Return the result of the first seed."""
        return next(iter(self.results.values()))

    def numbers(self, seed: int) -> Mapping[str, Any]:
        """Return what the result of a seed says of the stage, or of the whole run."""
        result = self.results[seed]
        return result if self.stage is None else result["stages"][self.stage]


@dataclass(frozen=True)
class Comparison:
    """Hold the numbers of both sides, `a` and `b`, over the paired seeds. `difference` is a - b.

    left_out: the seeds of a that b lacks, and the seeds of b that a lacks.
    """

    metric: str
    names: tuple[str, str]
    seeds: tuple[int, ...]
    a: Spread
    b: Spread
    difference: Spread
    test: PairedTest | None
    left_out: tuple[tuple[int, ...], tuple[int, ...]]
    warnings: tuple[str, ...]


def compare(a: str, b: str, metric: str, experiments: Path) -> Comparison:
    """Compare side A with side B, paired by seed.

    Raises RunError for a side that has no results, or those of several plans, for a stage or a metric that does not
    exist, and where no seed is on both sides.
    """
    return between(side(a, experiments), side(b, experiments), metric)


def between(ours: Side, theirs: Side, metric: str) -> Comparison:
    """Compare one side with the other, paired by seed.

    Raises RunError where they share no seed or a result lacks the metric.
    """
    seeds = sorted(ours.results.keys() & theirs.results.keys())
    if not seeds:
        what = f"no seed is on both sides ({_listed(ours.results)} and {_listed(theirs.results)})"
        raise RunError(f"{ours.label} and {theirs.label}: {what}; run the seeds of one for the other too")
    left, right = ([value(one, seed, metric) for seed in seeds] for one in (ours, theirs))
    return Comparison(
        metric=metric,
        names=(ours.label, theirs.label),
        seeds=tuple(seeds),
        a=spread(left),
        b=spread(right),
        difference=spread([one - other for one, other in zip(left, right, strict=True)]),
        test=paired_test(left, right),
        left_out=(_without(ours, seeds), _without(theirs, seeds)),
        warnings=tuple(_warnings(ours, theirs)),
    )


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison with the number of its pairs and its verdict."""
    return {**asdict(comparison), "n": len(comparison.seeds), "verdict": verdict(comparison)}


def side(text: str, experiments: Path) -> Side:
    """Read `PLACE[@DIGEST][:STAGE]`, see `ssld compare --help`. A path may itself contain these signs."""
    parts = {"place": text, "digest": None, "stage": None}
    if not Path(text).exists() and (match := SIDE.fullmatch(text)):
        parts = match.groupdict()
    results = _results(str(parts["place"]), experiments)
    groups = sorted({result["group"] for result in results})
    matches = [group for group in groups if group.startswith(parts["digest"] or "")]
    if len(matches) != 1:
        raise RunError(_which(str(parts["place"]), parts["digest"], groups, results))
    plan_results = [result for result in results if result["group"] == matches[0]]
    by_seed = {result["seed"]: result for result in sorted(plan_results, key=lambda result: result["seed"])}
    if len(by_seed) < len(plan_results):
        raise RunError(f"{text}: a seed stands there twice; leave one of the two runs out")
    stage, first = parts["stage"], plan_results[0]
    if stage and stage not in first["stages"]:
        hint = did_you_mean(stage, first["stages"]) or f"; its stages: {', '.join(first['stages'])}"
        raise RunError(f"{text}: {first['recipe']} has no stage {stage!r}{hint}")
    return Side(text, by_seed, stage)


def _which(place: str, digest: str | None, groups: Sequence[str], results: Sequence[Result]) -> str:
    """Say why a plan has to be named."""
    count = {group: sum(result["group"] == group for result in results) for group in groups}
    plans = ", ".join(f"{place}@{group[:8]} ({count[group]} seeds)" for group in groups)
    if digest:
        return f"{place}@{digest}: is the beginning of no plan's digest, or of several; there are {plans}"
    return f"{place}: holds results of {len(groups)} plans; name one: {plans}"


def _results(place: str, experiments: Path) -> list[Result]:
    """Read the results of a place.

    It is a run folder, a folder of them, a result, a page over seeds as JSON, or the name of a recipe.
    """
    path = Path(place)
    if path.is_dir():
        files = [path / "result.json"] if (path / "result.json").is_file() else sorted(path.glob("*/result.json"))
        if not files:
            raise RunError(f"{place}: no finished run there (result.json); give a run folder or a folder of them")
    elif path.is_file():
        page = ledger.load(path)
        rows = page.get("rows")
        files = [ledger.result_file(path.parent, page["recipe"], row["digest"]) for row in rows] if rows else [path]
    else:
        return _recorded(place, experiments)
    results = [ledger.load(file) for file in files]
    for file, result in zip(files, results, strict=True):
        if "group" not in result:
            raise RunError(f"{file}: is no result of a run, which has a seed and a plan; give one")
    return results


def _recorded(name: str, experiments: Path) -> list[Result]:
    """Return the recorded results of a recipe by its name. Raises RunError where there are none."""
    runs = [result for result in ledger.recorded(experiments) if not ledger.is_evaluation(result)]
    results = [result for result in runs if result["recipe"] == name]
    if not results:
        hint = did_you_mean(name, {result["recipe"] for result in runs}) or "; `ssld run RECIPE --seeds 5` records some"
        raise RunError(f"{name}: no results of a recipe of this name in {experiments / 'results'}{hint}")
    return results


def value(one: Side, seed: int, metric: str) -> float:
    """Return a number of a seed's result; `agreement.kl` is a nested one.

    Raises RunError where there is none of this name.
    """
    numbers = one.numbers(seed)
    number: Any = numbers
    for key in metric.split("."):
        number = number.get(key) if isinstance(number, Mapping) else None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        names = list(_numbers(numbers))
        hint = did_you_mean(metric, names) or f"; there are {', '.join(names)}"
        raise RunError(f"{one.label}: no number {metric!r} of seed {seed}{hint}")
    return float(number)


def _numbers(tree: Mapping[str, Any], path: str = "") -> list[str]:
    """Return the names of the numbers that are measurements. (The plan holds what was asked for.)"""
    names: list[str] = []
    for key, item in tree.items():
        if isinstance(item, Mapping) and key not in ("plan", "stages", "export", "student", "curve"):
            names += _numbers(item, f"{path}{key}.")
        elif isinstance(item, (int, float)) and not isinstance(item, bool) and key not in ("seed", "claim"):
            names.append(f"{path}{key}")
    return names


def _warnings(ours: Side, theirs: Side) -> list[str]:
    """Say what makes the two sides no fair pair."""
    conditions = (_conditions(ours), _conditions(theirs))
    return [
        f"{what} differs: {one} and {other}"
        for what, one, other in zip(conditions[0], conditions[0].values(), conditions[1].values(), strict=True)
        if one != other
    ]


def _conditions(one: Side) -> dict[str, str]:
    """Return under which conditions a side was measured."""
    plan, results = coverage.plan_of(one.first), one.results.values()
    stage = plan.stages[one.stage or list(plan.stages)[-1]]
    recipe = coverage.shelf_recipe(plan.name)
    return {
        "scope": _listed({coverage.of_run(result, recipe[1] if recipe else None) for result in results}),
        "the number of classes": str(plan.classes),
        "the validation list": stage.data.val,
        "the number of validation images": _listed({result["images"]["val"] for result in results}),
        "the crop of the evaluation": f"{stage.data.crop} of {stage.data.resize} pixels",
    }


def _without(one: Side, seeds: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds of a side that are not among `seeds`."""
    return tuple(sorted(one.results.keys() - set(seeds)))


def _listed(items: Iterable[Any]) -> str:
    """Return the items, sorted, as one text."""
    return ", ".join(map(str, sorted(items)))


def verdict(comparison: Comparison) -> str:
    """Say in one sentence what the pairs allow to conclude."""
    n, test, names = len(comparison.seeds), comparison.test, " and ".join(comparison.names)
    mean = _signed(comparison, comparison.difference.mean)
    if n < ENOUGH:
        return f"No winner: {n} paired seed{'s' * (n > 1)}, at least {ENOUGH} are needed; mean difference {mean}."
    if test is None:
        return f"No test: the difference of {names} is {mean} for each of {n} seeds."
    numbers = f"mean difference {mean}, paired t({test.df}) = {test.t:.2f}, p = {p_value(test.p)}"
    numbers += (
        f", bootstrap 95 % interval {_signed(comparison, test.boot_low)} to {_signed(comparison, test.boot_high)}"
    )
    if not test.distinguishable:
        return f"No winner: {names} are not distinguishable over {n} seeds: {numbers}."
    higher = "higher" if comparison.difference.mean > 0 else "lower"
    first, second = comparison.names
    return f"{first} is {higher} in {comparison.metric} than {second} over {n} seeds: {numbers}."


def text(comparison: Comparison) -> str:
    """Return what the command prints."""
    unit = ", %" if _is_percent(comparison) else ""
    rows = [
        ("", f"{comparison.metric}{unit}"),
        (comparison.names[0], _level(comparison, comparison.a)),
        (comparison.names[1], _level(comparison, comparison.b)),
    ]
    rows.append(
        ("difference", _signed(comparison, comparison.difference.mean) + _spread_of(comparison, comparison.difference))
    )
    if comparison.test:
        rows.append(
            ("95 % interval", _interval(comparison, comparison.test.low, comparison.test.high, "t distribution"))
        )
        how = f"bootstrap, percentile method, {RESAMPLES:,} resamples"
        rows.append(("", _interval(comparison, comparison.test.boot_low, comparison.test.boot_high, how)))
    rows.append(("paired seeds", _listed(comparison.seeds)))
    for name, seeds in zip(comparison.names, comparison.left_out, strict=True):
        rows += [(f"left out of {name}", _listed(seeds))] if seeds else []
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {cell}" for name, cell in rows]
    return "\n".join([*lines, "", verdict(comparison), *(f"warning: {warning}" for warning in comparison.warnings)])


def _is_percent(comparison: Comparison) -> bool:
    """Return whether the metric is in percent."""
    return comparison.metric.rpartition(".")[2] in PERCENT


def _level(comparison: Comparison, level: Spread) -> str:
    """Return a mean with its deviation as text."""
    return (f"{level.mean:.2f}" if _is_percent(comparison) else f"{level.mean:.4g}") + _spread_of(comparison, level)


def _spread_of(comparison: Comparison, level: Spread) -> str:
    """Return a deviation as text."""
    if _is_percent(comparison) or level.sd is None:
        return deviation(level)
    return f" ± {level.sd:.2g}"


def _interval(comparison: Comparison, low: float, high: float, how: str) -> str:
    """Return an interval as text."""
    return f"{_signed(comparison, low)} to {_signed(comparison, high)} ({how})"


def _signed(comparison: Comparison, value: float) -> str:
    """Return a difference with its sign as text."""
    return f"{value:+.2f}" if _is_percent(comparison) else f"{value:+.3g}"
