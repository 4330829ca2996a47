"""This module writes docs/what_moves_ssld.md: which published findings hold here.

The findings are in experiments/ablation.yaml, what was measured of them in the recorded results.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssld import yaml_text
from ssld.config import coverage, parse
from ssld.config.recipe import Plan
from ssld.errors import RecipeError, RunError
from ssld.report import ledger
from ssld.report.compare import SIDE, Comparison, Result, Side, between
from ssld.report.forest import Line, forest
from ssld.report.headline import points
from ssld.report.seed_statistics import ENOUGH, deviation, p_value, spread

FINDINGS, PAGE, FIGURE = "ablation.yaml", "docs/what_moves_ssld.md", "figures/what_moves_ssld.svg"
BEGIN, END = "<!-- ablation: written by `ssld report ablation` -->\n", "<!-- /ablation -->"
EMPTY, ASIDE = "not run", "-"
HOLDS, FAILS, NOISE = "holds", "does not hold", "not distinguishable here"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Describe a published finding: the stage `arm` against the stage `against`, each written RECIPE:STAGE.

    published: the published difference in points; None where no number is published.
    """

    change: str
    arm: str
    against: str
    claim: Literal["better", "same", "none"]
    published: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Findings:
    """Hold all findings of experiments/ablation.yaml by name."""

    findings: dict[str, Finding] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """Hold a finding, its two stages, and their comparison over the seeds that both have, or None while they share
    none.
    """

    finding: Finding
    sides: tuple[Side, Side]
    comparison: Comparison | None

    @property
    def verdict(self) -> str:
        """Say in words whether the finding holds."""
        return EMPTY if self.comparison is None else judge(self.finding.claim, self.comparison)


def judge(claim: str, comparison: Comparison) -> str:
    """Say whether a published finding holds. By the rule of `seed_statistics`, a difference inside the noise is none.

    A finding of no difference is never said to hold: that no difference was seen does not show that there is none.
    """
    if len(comparison.seeds) < ENOUGH:
        return f"too few seeds ({len(comparison.seeds)} of {ENOUGH})"
    if comparison.test is None or not comparison.test.distinguishable:
        return NOISE
    higher = comparison.difference.mean > 0
    if claim == "none":
        return "higher here" if higher else "lower here"
    return HOLDS if claim == "better" and higher else FAILS


def load(experiments: Path) -> tuple[dict[str, Finding], dict[str, Plan]]:
    """Return the findings by name, and the plans of the recipes that they ask about.

    Raises RecipeError for a key or value that is not allowed, and for a stage that no recipe has.
    """
    file = experiments / FINDINGS
    findings = parse.build(Findings, {"findings": yaml_text.read(file)}, str(file)).findings
    sides = {text: name for name, finding in findings.items() for text in (finding.arm, finding.against)}
    shelf = {place: coverage.shelf_recipe(place) for place in {_split(text)[0] for text in sides}}
    plans = {place: recipe[1] for place, recipe in shelf.items() if recipe}
    for text, name in sides.items():
        place, stage = _split(text)
        if place not in plans or stage not in plans[place].stages:
            raise RecipeError(f"{file}: {name}: {text}: no stage of a recipe; give RECIPE:STAGE")
    return findings, plans


def measure(experiments: Path) -> dict[str, Measured]:
    """Return each finding with what was measured of it, by the recipes as they stand on the shelf.

    Results of other plans do not count.
    """
    findings, plans = load(experiments)
    runs = [result for result in ledger.recorded(experiments) if not ledger.is_evaluation(result)]
    of = {
        name: {run["seed"]: run for run in runs if (run["recipe"], run["group"]) == (name, plan.group)}
        for name, plan in plans.items()
    }
    measured = {}
    for name, finding in findings.items():
        ours, theirs = (Side(text, of[_split(text)[0]], _split(text)[1]) for text in (finding.arm, finding.against))
        shared = ours.results.keys() & theirs.results.keys()
        measured[name] = Measured(finding, (ours, theirs), between(ours, theirs, "top1") if shared else None)
    return measured


def write(experiments: Path) -> Path:
    """Write the generated part of the page and the figure anew; both are in `docs/` beside the folder of the results.

    Raises RunError where the page has no place for it, or a result is damaged.
    """
    for file, text in _files(experiments).items():
        ledger.write_text(file, text)
    return experiments.parent / PAGE


def check(experiments: Path) -> Path:
    """Raise RunError when page or figure are not what `write` would write; return the page otherwise."""
    for file, text in _files(experiments).items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            raise RunError(f"{file}: is not what {experiments} says now; `ssld report ablation` writes it anew")
    return experiments.parent / PAGE


def _files(experiments: Path) -> dict[Path, str]:
    """Return the text of the page and of the figure, by file."""
    page = experiments.parent / PAGE
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise RunError(f"{page}: has no lines {BEGIN.strip()} and {END}; restore them")
    measured = measure(experiments)
    return {page: head + BEGIN + body(measured) + END + tail, page.parent / FIGURE: figure(measured)}


def body(measured: Mapping[str, Measured]) -> str:
    """Return the generated part of the page.

    It has what holds, the figure, the table, and the sources of the published numbers.
    """
    results = {_split(side.label)[0]: side.results.values() for one in measured.values() for side in one.sides}
    hardware = sorted({result["hardware"] for runs in results.values() for result in runs})
    teachers = [f"`{name}` {_teacher(runs)}" for name, runs in sorted(results.items())]
    parts = [
        "\n".join(_answers(measured)),
        f"![Difference of each change, with its interval]({FIGURE})",
        _table(list(measured.values())),
        "\n".join(_sources(measured)),
        f"Top-1 of the teachers, %: {', '.join(teachers)}. Measured on: {'; '.join(hardware) or EMPTY}.",
        "\n".join(_warnings(measured)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def figure(measured: Mapping[str, Measured]) -> str:
    """Return the table as a picture."""
    return forest("What moves an SSLD student: points of top-1 on Fashion-MNIST", [_line(o) for o in measured.values()])


def _answers(measured: Mapping[str, Measured]) -> list[str]:
    """Return a line for each verdict, with the changes that have it."""
    changes: dict[str, list[str]] = {}
    for one in measured.values():
        published = one.finding.claim != "none" or one.verdict == EMPTY
        changes.setdefault(one.verdict if published else f"none published, {one.verdict}", []).append(
            one.finding.change
        )
    rank = [HOLDS, FAILS, NOISE]
    order = sorted(
        changes, key=lambda verdict: (rank.index(verdict) if verdict in rank else 3, verdict == EMPTY, verdict)
    )
    return [f"- **{verdict}**: {'; '.join(changes[verdict])}" for verdict in order]


def _table(rows: Sequence[Measured]) -> str:
    """Return the table of all findings in Markdown."""
    head = ("change", "published, points", "without, %", "with, %", "difference, points", "95 % interval", "p", "seeds")
    lines = ["| " + " | ".join((*head, "verdict")) + " |", "|---|" + "---:|" * 6 + "---|---|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(one)) + " |" for one in rows)])


def _cells(one: Measured) -> list[str]:
    """Return the cells of one finding."""
    finding, comparison = one.finding, one.comparison
    start = [f"{finding.change} (`{finding.arm}` against `{finding.against}`)", published(finding)]
    if comparison is None:
        return [*start, *[EMPTY] * 7]
    test = comparison.test
    return [
        *start,
        f"{comparison.b.mean:.2f}{deviation(comparison.b)}",
        f"{comparison.a.mean:.2f}{deviation(comparison.a)}",
        f"{points(comparison.difference.mean)}{deviation(comparison.difference)}",
        f"{points(test.low)} to {points(test.high)}" if test else ASIDE,
        p_value(test.p) if test else ASIDE,
        ", ".join(map(str, comparison.seeds)),
        one.verdict,
    ]


def published(finding: Finding) -> str:
    """Return the published difference of a finding as a cell."""
    if finding.published is not None:
        return str(points(finding.published))
    return {"same": "about 0", "none": "none"}.get(finding.claim, ASIDE)


def _teacher(results: Iterable[Result]) -> str:
    """Return mean and deviation of the teacher's top-1 over all seeds of a recipe."""
    tops = [result["teacher"]["top1"] for result in results]
    return f"{(mean_top1 := spread(tops)).mean:.2f}{deviation(mean_top1)}" if tops else EMPTY


def _warnings(measured: Mapping[str, Measured]) -> list[str]:
    """Return a line for everything that makes a pair of stages no fair one."""
    return [
        f"- **{o.finding.change}**: {warning}"
        for o in measured.values()
        if o.comparison
        for warning in o.comparison.warnings
    ]


def _line(one: Measured) -> Line:
    """Return a finding as a line of the figure."""
    colour = {HOLDS: "more1", FAILS: "more5", NOISE: "muted"}.get(one.verdict, "student")
    published_points, comparison = one.finding.published, one.comparison
    if comparison is None:
        return Line(one.finding.change, EMPTY, colour, published=published_points)
    ends = (comparison.test.low, comparison.test.high) if comparison.test else None
    return Line(one.finding.change, one.verdict, colour, comparison.difference.mean, ends, published_points)


def _sources(measured: Mapping[str, Measured]) -> list[str]:
    """Return a line for each finding that has a published source."""
    lines = [f"- {one.finding.change}: {one.finding.source}" for one in measured.values() if one.finding.source]
    return ["Published, on ImageNet, not measured here:", "", *lines]


def _split(text: str) -> tuple[str, str]:
    """Split RECIPE:STAGE into its two parts."""
    match = SIDE.fullmatch(text)
    return (match["place"], match["stage"] or "") if match else (text, "")
