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
from ssld.config import recipe
from ssld.losses import Loss, Reads
from ssld.losses.base import Paper, Without
from ssld.losses.overview import GROUPS, NEEDS, WAYS, methods, needs
from ssld.losses.registry import FOLDERS, built_in
from ssld.report import methods as pages
from ssld.report.drawings import DRAWINGS

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/parity/data/golden"
METHODS = {method.name: method for method in methods()}
NOT_HERE = (
    """
CLKD, CS-KD, DAFL, DFAD,
DIST+, HSAKD, HSAKD*, HSSAKD (online), L2, PAD-L2, SDD, ScaleKD, ZSKT, none (baseline)
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


def test_a_method_that_compares_images_says_that_it_sees_those_of_a_micro_batch():
    coupled = [method for method in METHODS.values() if method.coupled]
    assert len(coupled) > 8
    for method in coupled:
        assert "micro-batch" in " ".join([method.text, *method.traps]), method.name


def test_papers_of_one_arxiv_number_are_one_paper_and_its_year_is_that_of_the_number():
    cited = {method.paper for method in METHODS.values() if isinstance(method.paper, Paper)}
    numbered = [paper.arxiv for paper in cited if paper.arxiv]
    assert len(numbered) == len(set(numbered))
    for paper in cited:
        assert not paper.arxiv or (
            re.fullmatch(r"\d{4}\.\d{4,5}", paper.arxiv) and paper.year % 100 == int(paper.arxiv[:2])
        )


def test_every_published_number_of_a_loss_that_there_is_stands_under_its_name():
    taken = {name for method in [*METHODS.values(), *WAYS] for name in method.ledger}
    known = {row["method"] for row in pages.rows_of(ROOT / "docs" / pages.LEDGER)}
    assert known - taken == set(NOT_HERE)


def test_numbers_of_a_method_are_in_the_table_of_published_numbers():
    known = {row["method"] for row in pages.rows_of(ROOT / "docs" / pages.LEDGER)}
    for method in METHODS.values():
        assert set(method.ledger) <= known, method.name


def test_every_published_number_has_a_source_and_says_whose_it_is():
    for row in pages.rows_of(ROOT / "docs" / pages.LEDGER):
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


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_method_that_is_a_recipe_names_recipes_that_use_its_losses(way):
    row = {row["name"]: row for row in list_(what="methods")}[way.name]
    assert (row["kind"], row["golden"]) == ("recipe", None)
    assert row["year"] == (str(way.paper.year) if isinstance(way.paper, Paper) else None)
    assert way.text.endswith(".")
    said = entry((ROOT / "docs/methods.md").read_text(encoding="utf-8"), way.name)
    for name in way.recipes:
        kinds = {term.kind for stage in recipe.load(name).stages.values() for term in stage.loss.values()}
        assert {*way.losses} <= kinds
        assert f"(../recipes/{name}.yaml)" in said
    for published in pages.rows_of(ROOT / "docs" / pages.LEDGER):
        if published["method"] in way.ledger:
            pair = ", ".join(published[key] for key in ("data", "teacher", "student"))
            assert f"| {pair} | - | {published['top1']} |" in said


def test_a_page_shows_the_numbers_of_shared_pairs_with_their_source_and_no_others(tmp_path):
    (tmp_path / "data").mkdir()
    fields = ("method", "data", "teacher", "student", "teacher_top1", "student_top1", "top1", "kind", "source")
    rows = [
        ("SP", *pages.PAIRS[2], "73.31", "69.75", "70.62", "published", "a page of theirs"),
        ("SP", "CIFAR-100", "vgg13", "vgg8", "74.64", "70.36", "72.68", "re-run", "another page"),
        ("none of ours", *pages.PAIRS[2], "73.31", "69.75", "71.11", "re-run", "a third page"),
        ("BYOT", "CIFAR-100", "self", "ResNet18", "", "", "80.66", "re-run", "a fourth page"),
    ]
    write_table(tmp_path / pages.LEDGER, [*fields, "seeds", "notes"], ([*row, "1", "a | b"] for row in rows))
    text = pages.page(tmp_path)
    wanted = "| ImageNet, ResNet34, ResNet18 | 69.75 | 70.62 | SP | published | a page of theirs | a \\| b; seeds: 1 |"
    assert wanted in text
    assert "another page" not in text
    assert "a third page" not in text
    assert "| CIFAR-100, self, ResNet18 | - | 80.66 | BYOT | re-run | a fourth page |" in text, "it has no shared pair"


def test_a_method_without_a_paper_or_numbers_has_an_entry_all_the_same(monkeypatch):
    bare = replace(METHODS["sp"], coupled=False, paper=None, golden=None, ledger=(), use="", traps=(), cost="")
    monkeypatch.setattr(pages, "methods", lambda: [bare])
    text = pages.page(ROOT / "docs")
    assert re.search(r"\| \[`sp`\]\(#sp\) \| features, teacher \| no \| [\d.-]+ \| - \| - \|", text)
    assert re.findall(r"\*\*.*?\*\*", entry(text.partition("\n## Recipes")[0], "sp")) == ["**Cost of a step**"]


COSTS = (
    "method", "teacher", "student", "time", "time_low", "time_high", "memory", "parameters", "parameters_of_student",
    "size", "batch", "rounds", "device",
)  # fmt: skip


@pytest.fixture
def docs(tmp_path):
    """A folder of docs without a published number, and without a measured cost."""
    (tmp_path / "data").mkdir()
    write_table(tmp_path / pages.LEDGER, ["method"], [])
    return tmp_path


def write_table(file, fields, rows):
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([fields, *rows])


def entry(page, name):
    return page.partition(f"\n### {name}\n")[2].partition("\n### ")[0]


def test_without_a_measurement_the_page_says_that_no_step_was_measured_and_how_to(docs):
    page = pages.page(docs)
    assert "**What a step costs** has not been measured: `python benchmarks/methods.py --csv docs/data/" in page
    assert page.count("**Cost of a step**: the time of a step was not measured.") == len(METHODS)
    assert f"the time of a step was not measured. {METHODS['dot'].cost}\n" in entry(page, "dot")
    assert "| [`sp`](#sp) | features, teacher | no | - |" in page


def test_the_page_says_what_was_measured_which_steps_are_longest_and_what_was_not_measured(docs):
    usual = ("ResNet18_vd", "MobileNetV3_small_x1_0")
    said = ("1000000", "32", "64", "15", "some processor, 2 cores")
    rows = [
        ("kl", *usual, "1.001", "0.99", "1.013", "1.0", "0", *said),
        ("hint", *usual, "1.25", "1.2", "1.3", "1.114", "250000", *said),
        ("dot", *usual, "1.75", "1.7", "1.8", "1.02", "0", *said),
        ("ca_mkd", "ResNet18_vd+ResNet34_vd", usual[1], "1.06", "1.0", "1.1", "1.2", "10000", *said),
        ("fsp", "ResNet18_vd", "ResNet10", "1.5", "1.4", "1.6", "0.996", "0", *said),
        ("uskd", "-", usual[1], "0.48", "0.4", "0.5", "0.5", "960", *said),
    ]
    write_table(docs / pages.COSTS, COSTS, rows)
    page = pages.page(docs)
    told = {row[0]: entry(page, row[0]).partition("**Cost of a step**: ")[2].partition("\n")[0] for row in rows}
    of = "of the memory of plain distillation"
    assert told["kl"] == f"1.00 (0.99 to 1.01) of the time and 1.00 {of}; no layers."
    layers = "its layers have 250,000 parameters, 0.25 of the student's."
    assert told["hint"] == f"1.25 (1.20 to 1.30) of the time and 1.11 {of}; {layers} {METHODS['hint'].cost}".rstrip()
    assert f"{of} by ResNet18_vd and ResNet34_vd and MobileNetV3_small_x1_0; its" in told["ca_mkd"]
    assert f"{of} by ResNet18_vd and ResNet10; no layers." in told["fsp"]
    assert (
        f"{of}; its layers have 960 parameters" in told["uskd"]
    )  # it asks no teacher, and the student is the usual one
    assert "| [`hint`](#hint) | features, teacher | yes | 1.25 |" in page
    intro = page.partition("\n## ")[0]
    assert intro.endswith("".join(f"\n- [`{name}`](#{name}): {told[name]}" for name in ("dot", "fsp", "hint")) + "\n")
    assert "a network of 1,000,000 parameters, at 32 pixels, 64 images a step" in intro.replace("\n", " ")
    (missing,) = re.findall(r"Not measured: (.*?)\.\n", intro)
    assert missing.split(", ") == [f"`{name}`" for name in METHODS if name not in told]


def test_measured_costs_are_those_of_methods_that_there_are_and_what_takes_longer_says_why():
    if not (ROOT / "docs" / pages.COSTS).is_file():
        pytest.skip("no cost is measured yet")
    rows = {row["method"]: row for row in pages.rows_of(ROOT / "docs" / pages.COSTS)}
    assert set(rows) <= set(METHODS)
    assert [name for name, row in rows.items() if float(row["time_low"]) > 1.1 and not METHODS[name].cost] == []
    assert {name for name, row in rows.items() if row["parameters"] != "0"} <= {
        m.name for m in METHODS.values() if m.helpers
    }


def test_a_reason_for_a_cost_is_a_sentence():
    assert all(method.cost.endswith(".") for method in METHODS.values() if method.cost)
