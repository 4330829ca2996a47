"""This module writes report.html of a run: one file that holds everything it shows, and loads nothing."""

from pathlib import Path

from ssld import yaml_text
from ssld.config.run_folder import PLAN, REPORT, read_result
from ssld.errors import RunError
from ssld.files import write_whole, writing
from ssld.report import evaluation_sections, int8_section, run_files, sections
from ssld.report.style import CSS
from ssld.spec.printable import in_markup

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<style>{css}</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""


def write_report(folder: str | Path) -> Path:
    """Write `report.html` of a finished run folder; a part that the run does not have is left out, with a note.

    Raises RunError when the run is not finished, or one of its files is damaged.
    """
    folder = Path(folder)
    result = read_result(folder)
    records, rows = run_files.metrics(folder, result), run_files.bench(folder, result)
    plan = run_files.plan(folder)
    tree = yaml_text.read_mapping(folder / PLAN, "the plan of a run") if plan else {}
    arrays, contract = run_files.samples(folder, result), run_files.contract(folder)
    names = [str(name) for name in arrays.get("classes", [])]
    parts = [
        sections.header(result, rows),
        sections.glance(result, records, rows, tree),
        sections.results(result),
        sections.training(result, records, tree),
        sections.speeds(result, rows),
        int8_section.layers(result),
        sections.agreement(result, names),
        evaluation_sections.beyond(result, names),
        evaluation_sections.worst(result, arrays, names),
        sections.pictures(arrays),
        sections.export(result, contract if contract.get("digest") == result["digest"] else {}),
        sections.about(result),
        sections.plan_text(plan),
    ]
    page = folder / REPORT
    with writing(page, RunError, "repeat `ssld report`"):
        write_whole(page, PAGE.format(title=in_markup(f"{result['recipe']} · ssld"), css=CSS, body="".join(parts)))
    return page
