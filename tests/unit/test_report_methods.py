"""`ssld list methods` and docs/methods.md: what is said of each method is what its class says."""

import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest

from ssld import cli
from ssld.commands.list import list_
from ssld.losses import Loss, Reads
from ssld.losses.base import Paper, Without
from ssld.losses.overview import GROUPS, NEEDS, methods, needs
from ssld.losses.registry import FOLDERS, built_in
from ssld.report import methods as pages
from ssld.report.drawings import DRAWINGS

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/parity/data/golden"
METHODS = {method.name: method for method in methods()}
NOT_HERE = (
    """
BYOT, BYOT classifier 1/4, BYOT classifier 2/4, BYOT classifier 3/4, BYOT classifier 4/4, CLKD, CS-KD, DAFL, DFAD,
DIST+, HSAKD, HSAKD*, HSSAKD (online), L2, PAD-L2, SDD, ScaleKD, VanillaKD, ZSKT, none (baseline)
""".replace("\n", " ")
    .strip()
    .split(", ")
)
"""Published numbers of what is no loss of this package: of other methods, of recipes, and of students alone."""


def test_the_page_is_what_the_generator_writes():
    assert (ROOT / "docs/methods.md").read_text(encoding="utf-8") == pages.page(ROOT / "docs"), "run `make docs`"


@pytest.mark.parametrize("group", GROUPS)
def test_every_kind_has_a_drawing_that_is_what_the_generator_writes(group):
    (name,) = re.findall(rf"## {re.escape(GROUPS[group])}\n\n!\[[^]]+\]\(([^)]+)\)", pages.page(ROOT / "docs"))
    drawn = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert drawn == DRAWINGS[group]().svg(), "run `make docs`"
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg")
    width, height = (float(root.get(side)) for side in ("width", "height"))
    for element in root.iter("{http://www.w3.org/2000/svg}text"):
        x, y = float(element.get("x")), float(element.get("y"))
        reach = 0.6 * 12 * len(element.text)  # letters of 12 pixels
        left = {"start": x, "middle": x - reach / 2, "end": x - reach}[element.get("text-anchor")]
        assert left >= 0
        assert left + reach <= width
        assert 0 < y < height


def test_a_formula_is_the_indented_lines_of_the_head_of_the_file_or_the_first_line_of_the_class():
    assert METHODS["srrl"].formula.splitlines() == [
        "features = mean over d of (g - f_t)^2",
        "logits   = mean over the classes of (W g + b - z_t)^2",
        "loss     = a features + c logits",
    ]
    assert METHODS["sp"].formula.startswith("Mean over N^2 of (unit rows of F_s F_s^T")
    page = pages.page(ROOT / "docs")
    for name in ("srrl", "sp", "kl", "dot"):
        entry = page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        block = "\n".join(f"    {line}" for line in METHODS[name].formula.splitlines())
        assert entry.count(block) == 1
        assert "\n\n\n" not in entry


def test_every_loss_is_a_method_of_a_group_and_dot_is_one_too():
    assert set(METHODS) == {*built_in(), "dot"}
    assert {*FOLDERS, "optimiser"} == set(GROUPS)
    assert list(METHODS) == sorted(METHODS, key=lambda name: list(GROUPS).index(METHODS[name].group))


def test_a_golden_file_that_a_method_names_is_there_and_is_compared():
    from tests.parity.golden_methods import METHODS as compared

    named = {method.golden for method in METHODS.values() if isinstance(method.golden, str)}
    assert named == {file.stem for file in GOLDEN.glob("*.npz")} == set(compared)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_its_paper_its_golden_file_when_to_use_it_and_what_goes_wrong(name):
    method = METHODS[name]
    for given, wanted in ((method.paper, Paper), (method.golden, str)):
        assert isinstance(given, wanted) or (isinstance(given, Without) and given.reason.endswith("."))
    assert method.use.endswith(".")
    assert method.traps
    assert all(trap.endswith(".") for trap in method.traps)


def test_papers_of_one_arxiv_number_are_one_paper_and_its_year_is_that_of_the_number():
    cited = {method.paper for method in METHODS.values() if isinstance(method.paper, Paper)}
    numbered = [paper.arxiv for paper in cited if paper.arxiv]
    assert len(numbered) == len(set(numbered))
    for paper in cited:
        assert not paper.arxiv or (
            re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv) and paper.year % 100 == int(paper.arxiv[:2])
        )


def test_every_published_number_of_a_loss_that_there_is_stands_under_its_name():
    taken = {name for method in METHODS.values() for name in method.ledger}
    known = {row["method"] for row in pages.ledger(ROOT / "docs" / pages.LEDGER)}
    assert known - taken == set(NOT_HERE)


def test_numbers_of_a_method_are_in_the_table_of_published_numbers():
    known = {row["method"] for row in pages.ledger(ROOT / "docs" / pages.LEDGER)}
    for method in METHODS.values():
        assert set(method.ledger) <= known, method.name


def test_every_published_number_has_a_source_and_says_whose_it_is():
    for row in pages.ledger(ROOT / "docs" / pages.LEDGER):
        assert row["source"], row
        assert row["kind"] in ("published", "re-run"), row
        assert re.fullmatch(r"\d\d(\.\d+)?([-±]\d+(\.\d+)?)?", row["top1"]), row


@pytest.mark.parametrize(
    ("name", "wanted", "helpers"),
    [
        ("ce", ("logits", "labels"), False),
        ("kl", ("logits", "teacher"), False),
        ("dkd", ("logits", "labels", "teacher"), False),
        ("at", ("features", "teacher"), False),
        ("hint", ("features", "teacher"), True),
        ("crd", ("features", "index", "teacher"), True),
        ("sp", ("features", "teacher"), False),
        ("fsp", ("features", "teacher"), False),
        ("sskd", ("logits", "features", "labels", "views", "teacher"), True),
        ("mlkd", ("logits", "views", "teacher"), False),
        ("dml", ("logits", "peers"), False),
        ("ca_mkd", ("logits", "features", "labels", "teacher", "teachers"), True),
        ("wkd_l", ("logits", "labels", "teacher", "weights"), False),
        ("dot", ("two gradients",), False),
    ],
)
def test_needs_follow_from_what_a_loss_reads(name, wanted, helpers):
    assert METHODS[name].needs == wanted
    assert METHODS[name].helpers is helpers


def test_teachers_apart_and_weights_are_needs_of_their_own():
    @dataclass(frozen=True)
    class Each(Loss):
        reads: ClassVar = Reads(teacher={"logits"}, each=True, weights={"teacher": {"classifier"}})

    assert needs(Each()) == ("logits", "teacher", "teachers", "weights")
    assert set(needs(Each())) <= set(NEEDS)


def test_the_list_says_for_each_method_what_its_class_says(capsys):
    rows = {row["name"]: row for row in list_(what="methods")}
    assert rows["sp"] == {
        "name": "sp", "kind": "relation", "needs": "features, teacher", "helpers": "no", "paper": "arXiv:1907.09682",
        "golden": "sp", "year": "2019",
    }  # fmt: skip
    assert rows["soft_ce"]["paper"] is rows["soft_ce"]["year"] is rows["kdcl"]["golden"] is None
    cli.main(["list", "methods"])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) >= len(rows)
    assert any(line.split()[:2] == ["hint", "feature"] for line in printed)


def test_a_page_shows_the_numbers_of_shared_pairs_with_their_source_and_no_others(tmp_path):
    (tmp_path / "data").mkdir()
    fields = ("method", "data", "teacher", "student", "teacher_top1", "student_top1", "top1", "kind", "source")
    rows = [
        ("SP", *pages.PAIRS[2], "73.31", "69.75", "70.62", "published", "a page of theirs"),
        ("SP", "CIFAR-100", "vgg13", "vgg8", "74.64", "70.36", "72.68", "re-run", "another page"),
        ("none of ours", *pages.PAIRS[2], "73.31", "69.75", "71.11", "re-run", "a third page"),
    ]
    with (tmp_path / pages.LEDGER).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*fields, "seeds", "notes"])
        writer.writerows([*row, "1", "a | b"] for row in rows)
    text = pages.page(tmp_path)
    wanted = "| ImageNet, ResNet34, ResNet18 | 69.75 | 70.62 | SP | published | a page of theirs | a \\| b; seeds: 1 |"
    assert wanted in text
    assert "another page" not in text
    assert "a third page" not in text


def test_a_method_without_a_paper_or_numbers_has_an_entry_all_the_same(monkeypatch):
    bare = replace(METHODS["sp"], coupled=False, paper=None, golden=None, ledger=(), use="", traps=())
    monkeypatch.setattr(pages, "methods", lambda: [bare])
    text = pages.page(ROOT / "docs")
    assert "| [`sp`](#sp) | features, teacher | no | - | - |" in text
    assert "**" not in text.partition("### sp")[2]
