"""`ssld compare A B`: two recipes, or two stages, over the seeds that both have. No winner inside the noise."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssld.config import scope
from ssld.errors import RunError, did_you_mean
from ssld.report import ledger
from ssld.report.paired import ENOUGH, RESAMPLES, PairedTest, Spread, deviation, p_value, paired_test, spread

PERCENT = ("top1", "top5")  # their last word; differences of these are points
SIDE = re.compile(r"(?P<place>[^@]+?)(?:@(?P<digest>[0-9a-f]+))?(?::(?P<stage>[\w-]+))?")
Result = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of the two: its results of one plan by seed, and the stage that is looked at, None for the end of the run."""

    label: str
    results: dict[int, Result]
    stage: str | None

    @property
    def first(self) -> Result:
        return next(iter(self.results.values()))

    def numbers(self, seed: int) -> Mapping[str, Any]:
        """What a seed's result says of the stage, or of the whole run."""
        result = self.results[seed]
        return result if self.stage is None else result["stages"][self.stage]


@dataclass(frozen=True)
class Comparison:
    """`a`, `b`: over the paired seeds. `difference`: a - b. `left_out`: seeds of a, and of b, that the other lacks."""

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
    """A against B, paired by seed.

    Raises RunError for a side that has no results, or those of several plans, for a stage or a metric that there is
    not, and where no seed is on both sides.
    """
    return between(side(a, experiments), side(b, experiments), metric)


def between(ours: Side, theirs: Side, metric: str) -> Comparison:
    """One side against the other, paired by seed. RunError where they share no seed, or a result lacks the metric."""
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


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison with the number of its pairs and its verdict."""
    return {**asdict(found), "n": len(found.seeds), "verdict": verdict(found)}


def side(text: str, experiments: Path) -> Side:
    """`PLACE[@DIGEST][:STAGE]`, see `ssld compare --help`; a path may hold these signs itself."""
    parts = {"place": text, "digest": None, "stage": None}
    if not Path(text).exists() and (found := SIDE.fullmatch(text)):
        parts = found.groupdict()
    results = _results(str(parts["place"]), experiments)
    groups = sorted({result["group"] for result in results})
    wanted = [group for group in groups if group.startswith(parts["digest"] or "")]
    if len(wanted) != 1:
        raise RunError(_which(str(parts["place"]), parts["digest"], groups, results))
    held = [result for result in results if result["group"] == wanted[0]]
    by_seed = {result["seed"]: result for result in sorted(held, key=lambda result: result["seed"])}
    if len(by_seed) < len(held):
        raise RunError(f"{text}: a seed stands there twice; leave one of the two runs out")
    stage, first = parts["stage"], held[0]
    if stage and stage not in first["stages"]:
        hint = did_you_mean(stage, first["stages"]) or f"; its stages: {', '.join(first['stages'])}"
        raise RunError(f"{text}: {first['recipe']} has no stage {stage!r}{hint}")
    return Side(text, by_seed, stage)


def _which(place: str, digest: str | None, groups: Sequence[str], results: Sequence[Result]) -> str:
    """Why a plan has to be named."""
    count = {group: sum(result["group"] == group for result in results) for group in groups}
    plans = ", ".join(f"{place}@{group[:8]} ({count[group]} seeds)" for group in groups)
    if digest:
        return f"{place}@{digest}: is the beginning of no plan's digest, or of several; there are {plans}"
    return f"{place}: holds results of {len(groups)} plans; name one: {plans}"


def _results(place: str, experiments: Path) -> list[Result]:
    """Of a run folder, a folder of them, a result, a page over seeds as JSON, or the name of a recipe."""
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
    runs = [result for result in ledger.recorded(experiments) if not ledger.is_evaluation(result)]
    found = [result for result in runs if result["recipe"] == name]
    if not found:
        hint = did_you_mean(name, {result["recipe"] for result in runs}) or "; `ssld run RECIPE --seeds 5` records some"
        raise RunError(f"{name}: no results of a recipe of this name in {experiments / 'results'}{hint}")
    return found


def value(one: Side, seed: int, metric: str) -> float:
    """A number of a seed's result, nested ones by `agreement.kl`. Raises RunError where it has none of this name."""
    numbers = one.numbers(seed)
    found: Any = numbers
    for key in metric.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        known = list(_numbers(numbers))
        hint = did_you_mean(metric, known) or f"; there are {', '.join(known)}"
        raise RunError(f"{one.label}: no number {metric!r} of seed {seed}{hint}")
    return float(found)


def _numbers(tree: Mapping[str, Any], path: str = "") -> list[str]:
    """Names of the numbers that are measurements; the plan is what was asked for."""
    names: list[str] = []
    for key, item in tree.items():
        if isinstance(item, Mapping) and key not in ("plan", "stages", "export", "student"):
            names += _numbers(item, f"{path}{key}.")
        elif isinstance(item, (int, float)) and not isinstance(item, bool) and key not in ("seed", "claim"):
            names.append(f"{path}{key}")
    return names


def _warnings(ours: Side, theirs: Side) -> list[str]:
    """What makes the two sides no fair pair."""
    said = (_conditions(ours), _conditions(theirs))
    return [
        f"{what} differs: {one} and {other}"
        for what, one, other in zip(said[0], said[0].values(), said[1].values(), strict=True)
        if one != other
    ]


def _conditions(one: Side) -> dict[str, str]:
    plan, results = scope.plan_of(one.first), one.results.values()
    stage = plan.stages[one.stage or list(plan.stages)[-1]]
    found = scope.shelf_recipe(plan.name)
    return {
        "scope": _listed({scope.of_run(result, found[1] if found else None) for result in results}),
        "the number of classes": str(plan.classes),
        "the validation list": stage.data.val,
        "the number of validation images": _listed({result["images"]["val"] for result in results}),
        "the crop of the evaluation": f"{stage.data.crop} of {stage.data.resize} pixels",
    }


def _without(one: Side, seeds: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(one.results.keys() - set(seeds)))


def _listed(items: Iterable[Any]) -> str:
    return ", ".join(map(str, sorted(items)))


def verdict(found: Comparison) -> str:
    """What the pairs allow to say, in one sentence."""
    n, test, names = len(found.seeds), found.test, " and ".join(found.names)
    mean = _signed(found, found.difference.mean)
    if n < ENOUGH:
        return f"No winner: {n} paired seed{'s' * (n > 1)}, at least {ENOUGH} are needed; mean difference {mean}."
    if test is None:
        return f"No test: the difference of {names} is {mean} for each of {n} seeds."
    numbers = f"mean difference {mean}, paired t({test.df}) = {test.t:.2f}, p = {p_value(test.p)}"
    numbers += f", bootstrap 95 % interval {_signed(found, test.boot_low)} to {_signed(found, test.boot_high)}"
    if not test.distinguishable:
        return f"No winner: {names} are not distinguishable over {n} seeds: {numbers}."
    higher = "higher" if found.difference.mean > 0 else "lower"
    return f"{found.names[0]} is {higher} in {found.metric} than {found.names[1]} over {n} seeds: {numbers}."


def text(found: Comparison) -> str:
    """What the command prints."""
    unit = ", %" if _is_percent(found) else ""
    rows = [
        ("", f"{found.metric}{unit}"),
        (found.names[0], _level(found, found.a)),
        (found.names[1], _level(found, found.b)),
    ]
    rows.append(("difference", _signed(found, found.difference.mean) + _spread_of(found, found.difference)))
    if found.test:
        rows.append(("95 % interval", _interval(found, found.test.low, found.test.high, "t distribution")))
        how = f"bootstrap, percentile method, {RESAMPLES:,} resamples"
        rows.append(("", _interval(found, found.test.boot_low, found.test.boot_high, how)))
    rows.append(("paired seeds", _listed(found.seeds)))
    for name, seeds in zip(found.names, found.left_out, strict=True):
        rows += [(f"left out of {name}", _listed(seeds))] if seeds else []
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {cell}" for name, cell in rows]
    return "\n".join([*lines, "", verdict(found), *(f"warning: {warning}" for warning in found.warnings)])


def _is_percent(found: Comparison) -> bool:
    return found.metric.rpartition(".")[2] in PERCENT


def _level(found: Comparison, level: Spread) -> str:
    return (f"{level.mean:.2f}" if _is_percent(found) else f"{level.mean:.4g}") + _spread_of(found, level)


def _spread_of(found: Comparison, level: Spread) -> str:
    if _is_percent(found) or level.sd is None:
        return deviation(level)
    return f" ± {level.sd:.2g}"


def _interval(found: Comparison, low: float, high: float, how: str) -> str:
    return f"{_signed(found, low)} to {_signed(found, high)} ({how})"


def _signed(found: Comparison, value: float) -> str:
    return f"{value:+.2f}" if _is_percent(found) else f"{value:+.3g}"
