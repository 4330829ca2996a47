"""Write the page of a run, and the pages and figures over many runs: `ssld report`."""

from collections.abc import Sequence
from pathlib import Path

from ssld.errors import UsageError


def report(*, what: Sequence[str], check: bool, csv: Sequence[str], out: str | None) -> dict[str, str | list[str]]:
    """Write the page of a run folder, or a page over many results; return the files that were written.

    `what` is one run folder; `speed` and run folders: teacher against student; `figures`: those of the zoo; `ledger`:
    published against measured numbers; `ablation`: which parts of the method move a student. `check` writes nothing and
    raises RunError when the page of `ledger` or `ablation` is stale. `csv` are more files of `ssld bench --csv` for
    `speed` and `figures`. `out` is the target folder, for `ledger` and `ablation` that of the recorded results. It
    raises UsageError for words and options that do not go together, RunError for a run that is not finished or damaged.
    """
    first, *others = what
    if first in ("ledger", "ablation") and not (others or csv):
        from ssld.report import ablation, published_and_measured

        page = published_and_measured if first == "ledger" else ablation
        return {first: str((page.check if check else page.write)(Path(out or "experiments")))}
    if check:
        raise UsageError("report: --check belongs to `ssld report ledger` and `ssld report ablation`")
    from ssld import report as pages

    files = [Path(file) for file in csv]
    if first == "speed" and others:
        return {**pages.write_speed([Path(run) for run in others], files, Path(out or "speed"))}
    if first == "figures" and not others:
        return {"figures": [str(file) for file in pages.write_figures(Path(out or "figures"), files)]}
    if others or first == "speed" or csv or out:
        raise UsageError("report: give one RUN alone, or `speed RUN ...`, `figures`, `ledger`, or `ablation`")
    return {"report": str(pages.write_report(Path(first)))}
