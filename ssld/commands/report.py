"""Write the page of a run, and the pages and figures over many runs: `ssld report`."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from ssld.errors import UsageError

OF_RECORDS = {"ledger": "published_and_measured", "ablation": "ablation", "methods": "which_method"}
"""Pages over recorded results, and the module that writes and checks each."""


def report(*, what: Sequence[str], check: bool, csv: Sequence[str], out: str | None) -> dict[str, str | list[str]]:
    """Write the page of a run folder, or a page over many results; return the files that were written.

    `what` is one run folder; `speed` and run folders: teacher against student; `figures`: those of the zoo; `ledger`:
    published against measured numbers; `ablation`: which parts of the method move a student; `methods`: which method
    helps, from the recorded grids. `check` writes nothing and raises RunError when a page of OF_RECORDS is stale. `csv`
    are more files of `ssld bench --csv` for `speed` and `figures`. `out` is the target folder, for the pages of
    OF_RECORDS that of the recorded results. It raises UsageError for words and options that do not go together,
    RunError for a run that is not finished or damaged.
    """
    first, *others = what
    if first in OF_RECORDS and not (others or csv):
        page = import_module(f"ssld.report.{OF_RECORDS[first]}")
        return {first: str((page.check if check else page.write)(Path(out or "experiments")))}
    if check:
        raise UsageError(f"report: --check belongs to {', '.join(f'`ssld report {name}`' for name in OF_RECORDS)}")
    from ssld import report as pages

    files = [Path(file) for file in csv]
    if first == "speed" and others:
        return {**pages.write_speed([Path(run) for run in others], files, Path(out or "speed"))}
    if first == "figures" and not others:
        return {"figures": [str(file) for file in pages.write_figures(Path(out or "figures"), files)]}
    if others or first == "speed" or csv or out:
        pages_of_many = ", ".join(f"`{name}`" for name in ("speed RUN ...", "figures", *OF_RECORDS))
        raise UsageError(f"report: give one RUN alone, or one of {pages_of_many}")
    return {"report": str(pages.write_report(Path(first)))}
