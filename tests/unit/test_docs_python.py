"""docs/python.md and the notebook run as they are printed, and the page names what there is."""

import inspect
import json
import re
import sys
from types import ModuleType

import numpy as np
import pytest

import ssld
from ssld import api
from tests.unit.test_docs import ROOT, rows

PAGE = (ROOT / "docs/python.md").read_text(encoding="utf-8")
NOTEBOOK = json.loads((ROOT / "examples/notebook.ipynb").read_text(encoding="utf-8"))


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A function that runs pieces of code in order, as one module in an empty folder; returns what they define."""

    def execute(pieces):
        module = ModuleType("page")
        monkeypatch.setitem(sys.modules, "page", module)
        monkeypatch.chdir(tmp_path)
        for number, piece in enumerate(pieces):
            exec(compile(piece, f"piece {number}", "exec"), vars(module))
        return vars(module)

    return execute


@pytest.mark.slow
def test_the_page_runs_from_its_first_block_to_its_last(executed, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    found = executed(blocks)
    assert found["teacher"].scores["top1"] > 70
    assert all(result.scores["top1"] > 40 for result in found["learnt"].values())
    assert found["own"].scores["steps"] == 18
    assert sum(found["is_held"]) == len(found["held"][1]) == 240
    assert found["found"][found["best"]].scores["top1"] == max(one.scores["top1"] for one in found["found"].values())
    assert found["probabilities"].sum() == pytest.approx(1, abs=1e-5)
    (refused,) = re.findall(
        r"^kept: holds another training: epochs changed; .*$", capsys.readouterr().out, re.MULTILINE
    )
    assert refused.startswith(re.search(r"# (kept: .*?); \.\.\.", PAGE)[1])


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(executed):
    found = executed(["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"])
    top1 = {name: result.top1 for name, result in found["results"].items()}
    assert top1["teacher"] > max(top1["SSLD"], top1["DKD"]) > top1["labels alone"]
    assert found["picture"].size == (48 * len(found["wrong"]), 48)
    first = np.argmax(ssld.predict(found["students"][found["best"]], found["val"][0][:1]))
    assert found["answer"] == first


def test_the_notebook_is_kept_without_the_results_of_a_run():
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)


def test_the_page_names_every_public_function_and_every_argument_of_distill():
    names = {*ssld.__all__} - {"Distilled", "Evaluation", "FinishedRun", "FinishedStage", "SsldError"}
    tables = rows(PAGE)
    assert set(re.findall(r"`ssld\.(\w+)", " ".join(cells[0] for cells in tables))) == names
    explained = " ".join(cells[0] for cells in tables) + " ".join(cells[1] for cells in tables)
    for name in inspect.signature(api.distill).parameters:
        assert f"`{name}`" in explained, name
