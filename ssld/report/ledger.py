"""This module keeps measured results, one file a run, never edited, and sums up what several seeds say together."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssld.errors import RunError
from ssld.files import clear, json_text, read_json, write_whole, writing
from ssld.report.headline import NOT_STEADY, failed, on_other_images, points, ratios, training_word, unsteady
from ssld.report.seed_statistics import RESAMPLES, PairedTest, Spread, deviation, p_value, paired_test, spread
from ssld.spec.names import check_name
from ssld.spec.printable import in_code, in_markdown, printable

OF_A_TEST = ("test", "test gain")  # columns of results with test images
GAINS = ("gain", "test gain")  # columns of points


@dataclass(frozen=True)
class StageSummary:
    """Sum up a stage over seeds, percent top-1.

    A stage of the student that was evaluated on the images of the baseline has its gain over it, in points.
    """

    name: str
    network: str  # the network of the stage, teacher or student
    top1: Spread
    gain: Spread | None
    test: PairedTest | None


@dataclass(frozen=True)
class Summary:
    """Sum up the results of one recipe over seeds, percent top-1.

    test: None for one seed, without a measured baseline, and where all gains are equal. speedups: engine -> (median,
    lowest, highest) over seeds of the teacher's latency over the student's. training: what the student is called,
    distilled or trained; its number stands under that name. baseline_missing: why there is no baseline.
    """

    recipe: str
    scope: str
    hardware: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]  # a row has seed, digest, and the columns
    spreads: dict[str, Spread]
    test: PairedTest | None
    stages: tuple[StageSummary, ...]
    speedups: dict[str, tuple[float, float, float]]
    unsteady: tuple[str, ...]  # engines in which a time changed too much while it was measured, for any seed
    wall_seconds: float  # the time of the longest run
    training: str
    baseline_missing: str | None
    other_images: dict[str, str]  # maps a stage that was evaluated on other images than the baseline to their list

    @property
    def n(self) -> int:
        """Return the number of seeds."""
        return len(self.rows)


def record(result: dict[str, Any], experiments: Path) -> Path:
    """Keep a result of a run, or of an evaluation (reproduce.py), as `result_file`; the same result again changes
    nothing.

    Raises RunError for an unfinished run, and when the file already holds another measurement, which is kept.
    """
    if not result.get("complete"):
        raise RunError(f"{result.get('recipe')}: the run is not complete; finish it before its result is recorded")
    name = result["model" if is_evaluation(result) else "recipe"]
    file = result_file(experiments, name, result["digest"])
    if file.is_file():
        if load(file) != json.loads(json.dumps(result)):
            raise RunError(
                f"{file}: holds another measurement of the same plan, which is kept; move it away to record this one"
            )
        return file
    write_text(file, json_text(result))
    return file


def result_file(experiments: Path, name: str, digest: str) -> Path:
    """Return `results/<recipe or model>/<first 12 digits of its digest>.json`.

    Raises RunError for a name or a digest that would lead elsewhere.
    """
    check_name(name, "result", RunError)
    check_name(digest[:12], f"{name}: digest", RunError)
    return Path(experiments) / "results" / re.sub(r"[^\w.-]+", "-", name) / f"{digest[:12]}.json"


def is_evaluation(result: dict[str, Any]) -> bool:
    """Return whether a result measures weights that somebody else trained. The others are results of runs."""
    return result.get("kind") == "evaluation"


def recorded(experiments: Path) -> list[dict[str, Any]]:
    """Return every result, ordered by file. Raises RunError for a file that is no result."""
    return [_whole(file) for file in sorted((Path(experiments) / "results").glob("*/*.json"))]


def _whole(file: Path) -> dict[str, Any]:
    """Read a recorded result. Raises RunError where it lacks a key that tells what it measured."""
    result = load(file)
    own = (
        ("model", "input", "data", "weights", "scope") if is_evaluation(result) else ("recipe", "seed", "group", "plan")
    )
    if missing := [key for key in (*own, "digest", "top1", "hardware") if key not in result]:
        raise RunError(f"{file}: is no result (no {missing[0]!r}); move it out of the folder")
    return result


def load(file: Path) -> dict[str, Any]:
    """Read a recorded result or a result.json. Raises RunError when it is missing or damaged."""
    return read_json(Path(file), "restore it, or move it away and record the run again")


def summarise(results: Sequence[dict[str, Any] | Path | str]) -> Summary:
    """Return mean, deviation and paired test over seeds, from results or their files.

    Raises RunError unless all are of one plan but for the seed, at one scope, each seed once.
    """
    runs = sorted(
        (item if isinstance(item, dict) else load(Path(item)) for item in results), key=lambda result: result["seed"]
    )
    if not runs:
        raise RunError("summary: no result given; finish a run first")
    for key in ("recipe", "scope", "group"):
        if len(kinds := sorted({str(result.get(key)) for result in runs})) > 1:
            raise RunError(f"summary: results of more than one {key} ({', '.join(kinds)}); compare seeds of one plan")
    seeds = [result["seed"] for result in runs]
    if len(set(seeds)) < len(seeds):
        raise RunError(f"{runs[0]['recipe']}: a seed stands twice in {seeds}; give each once")
    rows, student = [_row(result) for result in runs], training_word(runs[0])
    spreads = {
        name: spread([row[name] for row in rows])
        for name in _names(student)
        if all(row.get(name) is not None for row in rows)
    }
    measured = all((result.get("baseline") or {}).get("source", "measured") == "measured" for result in runs)
    return Summary(
        recipe=runs[0]["recipe"],
        scope=runs[0].get("scope", "full"),
        hardware=tuple(sorted({result["hardware"] for result in runs})),
        rows=tuple(rows),
        spreads=spreads,
        test=paired_test(*_columns(rows, student, "baseline")) if measured and "gain" in spreads else None,
        stages=tuple(_stage(runs, name) for name in runs[0]["stages"]),
        speedups=_speedups(runs),
        unsteady=tuple(sorted({engine for result in runs for engine in unsteady(result.get("bench") or [])})),
        wall_seconds=max(result["wall_seconds"] for result in runs),
        training=student,
        baseline_missing=runs[0].get("baseline_missing"),
        other_images=on_other_images(runs[0]),
    )


def _names(student: str) -> tuple[str, ...]:
    """Return the columns of the table over seeds; `student` is what the student is called.

    Rows of results without a test lack the last two.
    """
    return ("teacher", "baseline", student, "gain", *OF_A_TEST)


def verdict(summary: Summary) -> str:
    """Say in one sentence what the seeds allow to conclude."""
    if "gain" not in summary.spreads:
        reason = f": {summary.baseline_missing}" if summary.baseline_missing else ""
        return f"There is no baseline to compare with{reason}."
    gain = summary.spreads["gain"].mean
    if summary.n == 1:
        return f"One seed: the gain is {points(gain)} points; one seed has no deviation and allows no test."
    if summary.test is None:
        return f"Mean gain {points(gain)} points; no paired test (the baseline is published, or all gains are equal)."
    test = summary.test
    interval = f"95 % interval {points(test.low)} to {points(test.high)}"
    numbers = f"mean gain {points(gain)} points, {interval}, paired t({test.df}) = {test.t:.2f}, p = {p_value(test.p)}"
    student = summary.training.capitalize()
    if not test.distinguishable:
        return f"{student} and baseline are not distinguishable over {summary.n} seeds: {numbers}."
    return f"{student} is {'better' if gain > 0 else 'worse'} than the baseline over {summary.n} seeds: {numbers}."


def tested(summary: Summary) -> list[str]:
    """Return, as a list of at most one sentence, what the seeds allow to conclude on the test images."""
    if "test gain" not in summary.spreads:
        return []
    gains = [row["test gain"] for row in summary.rows]
    mean = f"On the test images, which no choice has seen, the mean gain is {points(summary.spreads['test gain'].mean)}"
    if (test := paired_test(gains, [0.0] * len(gains))) is None:
        return [f"{mean} points; no paired test (one seed, or all gains are equal)."]
    interval = f"95 % interval {points(test.low)} to {points(test.high)}"
    clear = "" if test.distinguishable else "; student and baseline are not distinguishable there"
    return [f"{mean} points, {interval}, paired t({test.df}) = {test.t:.2f}, p = {p_value(test.p)}{clear}."]


def table(summary: Summary) -> str:
    """Return one row a seed, then mean ± standard deviation, in Markdown."""
    names = [name for name in _names(summary.training) if name in summary.spreads]
    lines = [
        "| seed | " + " | ".join(f"{name}, {'points' if name in GAINS else '%'}" for name in names) + " | digest |"
    ]
    lines.append("|---|" + "---:|" * len(names) + "---|")
    for row in summary.rows:
        lines.append(
            f"| {row['seed']} | "
            + " | ".join(_cell(name, row[name]) for name in names)
            + f" | `{row['digest'][:12]}` |"
        )
    means = [_cell(name, level.mean) + deviation(level) for name, level in summary.spreads.items()]
    return "\n".join(
        [
            *lines,
            f"| **mean{' ± sd' if summary.n > 1 else ''}** | " + " | ".join(f"**{mean}**" for mean in means) + " | |",
        ]
    )


def stages(summary: Summary) -> str:
    """Return one row a stage in Markdown, in the order of the recipe.

    A row has the gain over the baseline and the gain's p.
    """
    lines = ["| stage | network | top-1, % | over the baseline, points | p |", "|---|---|---:|---:|---:|"]
    for stage in summary.stages:
        gain = "" if stage.gain is None else f"{points(stage.gain.mean)}{deviation(stage.gain)}"
        p = "" if stage.test is None else p_value(stage.test.p)
        top1 = f"{stage.top1.mean:.2f}{deviation(stage.top1)}"
        names = f"{in_markdown(stage.name)} | {in_markdown(stage.network)}"
        lines.append(f"| {names} | {top1} | {gain} | {p} |")
    return "\n".join(lines)


def speedups(summary: Summary) -> str:
    """Return the speed-ups of all engines as text: `onednn 4.9 x (4.6 to 5.1)`."""
    parts = [
        f"{engine} {mid:.1f} x ({low:.1f} to {high:.1f}{', not steady' if engine in summary.unsteady else ''})"
        for engine, (mid, low, high) in summary.speedups.items()
    ]
    return ", ".join(parts) or "not measured"


def bootstrapped(summary: Summary) -> str:
    """Return the bootstrap interval beside that of the t distribution, and how it was drawn."""
    if summary.test is None:
        return "none, as there is no test"
    low, high = points(summary.test.boot_low), points(summary.test.boot_high)
    return f"{low} to {high} points (percentile method, {RESAMPLES:,} resamples of the seeds' gains)"


def write_seed_report(
    results: Sequence[dict[str, Any] | Path | str], path: Path, *, command: str | None = None
) -> Path:
    """Write a page (Markdown) on one recipe over seeds, and beside it the same as JSON; return the page.

    Raises RunError when the results do not belong together, or a file cannot be written.
    """
    runs = [item if isinstance(item, dict) else load(Path(item)) for item in results]
    summary, path = summarise(runs), Path(path)
    failures = {run["seed"]: failed(run) for run in sorted(runs, key=lambda run: run["seed"])}
    seeds = [row["seed"] for row in summary.rows]
    command = command or f"ssld run recipes/{summary.recipe}.yaml --seeds {summary.n}"
    smoke = ["", "**A smoke run: its numbers mean nothing.**"] if summary.scope == "smoke" else []
    text = [
        f"# {in_markdown(summary.recipe)}: {summary.n} seed{'s' if summary.n > 1 else ''}",
        "",
        "Generated from the results; do not edit.",
        *smoke,
        "",
        printable(verdict(summary)),
        *tested(summary),
        "",
        table(summary),
        "",
        stages(summary),
        "",
        *(
            in_markdown(f"- {name}: evaluated on other images, {listed}")
            for name, listed in summary.other_images.items()
        ),
        f"- seeds: {', '.join(map(str, seeds))} (n = {summary.n})",
        f"- command: `{in_code(command)}`",
        f"- hardware: {'; '.join(summary.hardware)}",
        f"- scope: {summary.scope}",
        f"- longest run: {summary.wall_seconds / 60:.1f} minutes",
        f"- speed-up over the teacher, median over seeds (lowest to highest): {speedups(summary)}",
        *([f"- {NOT_STEADY[0].lower()}{NOT_STEADY[1:]}"] if set(summary.unsteady) & summary.speedups.keys() else []),
        *(f"- seed {seed}: {in_markdown(line)}" for seed, lines in failures.items() for line in lines),
        f"- bootstrap, 95 % interval of the mean gain: {bootstrapped(summary)}",
        "- ± is the sample standard deviation over seeds; the test is two-sided and paired by seed; the interval "
        "is that of the t distribution",
    ]
    twin = {**asdict(summary), "n": summary.n, "seeds": seeds, "command": command, "verdict": verdict(summary)}
    write_text(path, "\n".join(text) + "\n")
    write_text(path.with_suffix(".json"), json.dumps(twin, indent=1) + "\n")
    return path


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of one result."""
    tops = {name: (result.get(name) or {}).get("top1") for name in ("teacher", "baseline")}
    gain = None if tops["baseline"] is None else result["top1"] - tops["baseline"]
    return {
        "seed": result["seed"],
        "digest": result["digest"],
        **tops,
        training_word(result): result["top1"],
        "gain": gain,
        **({"test": result["test_top1"], "test gain": result.get("test_gain")} if "test_top1" in result else {}),
    }


def _speedups(results: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """Return median, lowest and highest speed-up of the engines that every run was measured in."""
    ratios_of_runs = [ratios(result.get("bench") or []) for result in results]
    every = {
        engine: [run[engine] for run in ratios_of_runs]
        for engine in ratios_of_runs[0]
        if all(engine in run for run in ratios_of_runs)
    }
    return {engine: (float(np.median(values)), min(values), max(values)) for engine, values in every.items()}


def _columns(rows: list[dict[str, Any]], *names: str) -> list[list[float]]:
    """Return some columns of the rows."""
    return [[row[name] for row in rows] for name in names]


def _stage(results: list[dict[str, Any]], name: str) -> StageSummary:
    """Return the summary of one stage."""

    def tops(stage: str) -> list[float]:
        return [result["stages"][stage]["top1"] for result in results]

    network, baseline = results[0]["stages"][name]["network"], results[0]["plan"]["baseline"]
    gain = test = None
    if network == "student" and baseline not in (None, name) and name not in on_other_images(results[0]):
        gain = spread([own - other for own, other in zip(tops(name), tops(baseline), strict=True)])
        test = paired_test(tops(name), tops(baseline))
    return StageSummary(name, network, spread(tops(name)), gain, test)


def _cell(name: str, value: float) -> str:
    """Write a number of a column."""
    return str(points(value)) if name in GAINS else f"{value:.2f}"


def write_text(file: Path, text: str) -> None:
    """Write a file of the ledger, whole or not at all. Raises RunError where the disk does not take it."""
    with writing(file, RunError, "choose another folder"):
        file.parent.mkdir(parents=True, exist_ok=True)
        clear(file.parent)
        write_whole(file, text)
