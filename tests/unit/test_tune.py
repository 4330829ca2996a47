"""`ssld tune`: which trials it runs, on what, what it says of them, and one line for each mistake."""

import csv
import itertools
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ssld import cli, evaluation
from ssld import trials as trial_runs
from ssld.commands.tune import tune
from ssld.data import fake
from ssld.errors import DataError, RecipeError, RunError
from ssld.plans import load_plan
from tests.unit.fake_run import make_result
from tests.unit.some_recipe import TREE, changed, written

PLACE = "stages.distill.loss.dkd"
RECIPE = changed(changed(TREE, "classes", 4), "stages.distill.loss", {"dkd": {"unlabelled": "ignore", "weight": 0.5}})
HELD = 200  # images


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLD_DATA", raising=False)
    lists = fake(tmp_path / "data/d", 4, train=16, val=1, unlabelled=4, size=8)
    lists["train_labelled"].rename(tmp_path / "data/d/train.txt")
    lists["train_unlabelled"].rename(tmp_path / "data/d/more.txt")
    lists["val"].unlink()  # the validation images are not looked at
    written(tmp_path, RECIPE)
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """Trials without training: what they were started with. The weight says how many of HELD images are right."""
    started, rights = [], {0.5: 100, 0.125: 98, 2.0: 130, 0.0625: None, 1.0: 104}

    def run_alone(recipe, overrides, out, options):
        plan = load_plan(recipe, overrides, smoke=options.smoke)
        started.append((plan, out, options))
        weight = plan.stages["distill"].loss["dkd"].weight
        if rights[weight] is None:
            return 1
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(json.dumps({**make_result(), "right": rights[weight]}))
        return 0

    def images_right(folder, runtime):
        return np.arange(HELD) < json.loads((folder / "result.json").read_text())["right"]

    monkeypatch.setattr(trial_runs, "command_of_run", lambda *arguments: arguments)
    monkeypatch.setattr(trial_runs, "call", lambda arguments: run_alone(*arguments))
    monkeypatch.setattr(evaluation, "images_right", images_right)
    return started, rights


def tuned(*words):
    return tune(**cli.options(cli._parse(["tune", "some.yaml", *words])))


def test_every_trial_trains_without_the_held_out_images_and_the_best_one_is_taken(place, trained):
    result = tuned("--term", "dkd", "--budget", "6", "--out", "out", "--held-out", "0.25", "bench.threads=2")
    plans = [plan for plan, _, _ in trained[0]]
    assert [plan.stages["distill"].loss["dkd"].weight for plan in plans] == [0.5, 0.5, 0.125, 2.0, 0.0625, 1.0]
    assert len({plan.stages["distill"].loss["dkd"].loss.temperature for plan in plans}) == 6
    held = place / "out/lists/held_out.txt"
    assert len(held.read_text().splitlines()) == 4
    for plan, out, options in trained[0]:
        assert plan.bench.threads == 2
        assert plan.export.formats == ()
        assert {stage.data.val for stage in plan.stages.values()} == {str(held)}
        train = str(place / "out/lists/1-train.txt")
        assert plan.stages["teach"].data.train == (train,)
        assert plan.stages["distill"].data.train == (train, "d/more.txt")
        assert out == Path(f"out/trials/some-{plan.digest[:8]}")
        assert options.wandb_tags == ("tune-dkd",)
    assert result["values"] == result["best"] == {f"{PLACE}.weight": 2.0, f"{PLACE}.temperature": 1.78}
    assert result["overrides"] == [f"{PLACE}.weight=2.0", f"{PLACE}.temperature=1.78"]
    assert result["held_out"] == str(held)
    numbers = "+15.00 points, 95 % interval +9.85 to +19.85; 30 images are right with it alone and 0 with the recipe's"
    assert result["verdict"].startswith(
        f"Trial 4 is better than the recipe's own values: {numbers} own values alone; p"
    )
    assert result["verdict"].endswith(
        "; p = 1.9e-09 (McNemar), 7.5e-09 as the best of 4."
    )  # 2 / 2**30; one of five failed
    rows = result["rows"]
    assert [row["top1"] for row in rows] == [50.0, 50.0, 49.0, 65.0, None, 52.0]
    assert [row["state"] for row in rows] == ["finished"] * 4 + ["failed", "finished"]
    assert [row["difference"] for row in rows] == [None, 0.0, -1.0, 15.0, None, 2.0]
    page = Path(result["report"]).read_text()
    assert "```yaml\nstages:\n  distill:\n    loss:\n      dkd: {weight: 2.0, temperature: 1.78}\n```" in page
    with (place / "out/tune.csv").open(newline="") as stream:
        assert [row["dkd.weight"] for row in csv.DictReader(stream)] == [str(row["dkd.weight"]) for row in rows]
    assert json.loads((place / "out/tune.json").read_text())["rows"] == rows
    assert "![Held-out top-1 over the searched values](tune.svg)" in page
    weights, temperatures = panels(place / "out/tune.svg")
    finished = [row for row in rows if row["top1"] is not None]
    for key, dots in (("dkd.weight", weights), ("dkd.temperature", temperatures)):
        assert sorted(dots) == [row["trial"] for row in finished]
        for a, b in itertools.product(finished, finished):
            (ax, ay), (bx, by) = dots[a["trial"]], dots[b["trial"]]
            assert (ax < bx) == (a[key] < b[key])
            assert (ay > by) == (a["top1"] < b["top1"])  # y counts from above


def panels(file):
    """Number of a trial -> place of its dot, of each panel of a figure."""
    names = {"svg": "http://www.w3.org/2000/svg"}
    found = []
    for panel in ElementTree.parse(file).getroot().findall("svg:g", names):
        dots = {}
        for group in panel.findall("svg:g", names):
            number = int(re.match(r"trial (\d+): dkd\.", group.find("svg:title", names).text)[1])
            dot = group.find("svg:circle", names)
            dots[number] = float(dot.get("cx")), float(dot.get("cy"))
        found.append(dots)
    return found


def test_a_trial_that_is_better_within_the_noise_leaves_the_recipe_its_values(place, trained):
    trained[1][2.0] = 104
    result = tuned("--term", "dkd", "--budget", "4", "--out", "out")
    assert result["values"] == {f"{PLACE}.weight": 0.5, f"{PLACE}.temperature": 4.0}
    assert result["best"][f"{PLACE}.weight"] == 2.0
    assert result["verdict"].startswith(
        "Trial 4 has most images right, but within the noise of 200 images: +2.00 points"
    )
    assert result["verdict"].endswith("The recipe's own values stay.")
    assert "The values of trial 4, all the same:" in Path(result["report"]).read_text()


def test_no_trial_is_better_than_its_equal(place, trained):
    result = tuned("--term", "dkd", "--budget", "3", "--out", "out")
    assert (
        result["verdict"]
        == "None of the others that finished (2) has more held-out images right: the recipe's own values stay."
    )
    assert result["values"] == result["best"]


def test_the_same_command_goes_on_and_a_larger_budget_adds_trials(place, trained):
    words = ("--term", "dkd", "--held-out", "0.25")
    first = tuned(*words, "--budget", "2")
    (folder,) = place.glob("runs/some-dkd-tune-*")
    lists = {file.name: file.read_bytes() for file in (folder / "lists").iterdir()}
    again = tuned(*words, "--budget", "4")
    assert again["rows"][:2] == first["rows"]
    assert lists == {file.name: file.read_bytes() for file in (folder / "lists").iterdir()}
    assert [*place.glob("runs/some-dkd-tune-*")] == [folder]
    more = tuned(*words, "--budget", "2", "--option", "beta", "--option", "alpha", "seed=0")
    assert [*more["values"]] == [f"{PLACE}.{key}" for key in ("weight", "temperature", "beta", "alpha")]
    assert (
        "seed=0 --term dkd --stage distill --option beta --option alpha --budget 2" in Path(more["report"]).read_text()
    )
    assert len([*place.glob("runs/some-dkd-tune-*")]) == 2
    with pytest.raises(RunError, match=r"^runs/.*: holds another search \(tune\.made\.json\); choose another --out$"):
        tuned(*words, "--seed", "1", "--out", str(folder.relative_to(place)))


def test_own_values_that_do_not_finish_end_the_search(place, trained):
    trained[1][0.5] = None
    with pytest.raises(RunError, match=r"^out/trials/some-.*: the recipe's own values did not finish; mend that first"):
        tuned("--term", "dkd", "--budget", "4", "--out", "out")
    assert len(trained[0]) == 1


def test_a_smoke_run_holds_out_drawn_images_and_says_that_its_numbers_mean_nothing(place, trained):
    for file in (place / "data/d").glob("*.txt"):
        file.unlink()
    result = tuned("--term", "dkd", "--budget", "2", "--smoke", "--out", "out")
    assert all(plan.scope == "smoke" for plan, _, _ in trained[0])
    assert len((place / "out/lists/held_out.txt").read_text().splitlines()) == 4
    assert "A smoke run: its numbers mean nothing." in Path(result["report"]).read_text()


def test_a_loss_without_a_temperature_is_searched_by_its_weight_and_a_line_says_so(place, trained, capsys):
    written(place, changed(RECIPE, "stages.distill.loss", {"dkd": {"kind": "js", "weight": 0.5}}))
    result = tuned("--term", "dkd", "--budget", "3", "--out", "out")
    assert [row["dkd.weight"] for row in result["rows"]] == [0.5, 0.125, 2.0]
    assert f"{PLACE}: the loss has no temperature; what is searched is {PLACE}.weight" in capsys.readouterr().err


def one_line(kind, *words):
    with pytest.raises(kind) as caught:
        tuned(*words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_mistake_is_one_line_before_anything_is_trained(place, trained, capsys):
    assert one_line(RecipeError, "--term", "dkq") == (
        "--term dkq: no stage of some.yaml has a term of this name; did you mean 'dkd'?"
    )
    assert one_line(RecipeError, "--term", "ce") == (
        "--term ce: stages teach, plain of some.yaml have it; name one with --stage"
    )
    assert one_line(RecipeError, "--term", "ce", "--stage", "distill") == (
        "--term ce: stage distill of some.yaml has no term of this name; its terms: dkd"
    )
    assert one_line(RecipeError, "--term", "dkd", "--stage", "distil") == (
        "--stage distil: some.yaml has no stage of this name; did you mean 'distill'?"
    )
    assert one_line(RecipeError, "--term", "ce", "--stage", "plain") == (
        "stages.plain.loss.ce: the student of the last stage, finetune, does not come from this stage; choose one that "
        "leads to it"
    )
    assert one_line(RecipeError, "--term", "dkd", "--option", "gamma").startswith(
        "--option gamma: the loss dkd has no op"
    )
    (place / "data/d/train.txt").write_text("images/00000.jpg 0\nimages/00001.jpg 1\n")
    assert one_line(DataError, "--term", "dkd").startswith("stage distill: class 0 has one labelled image, and a slice")
    capsys.readouterr()
    for wrong, said in (("--budget=0", "from 2 to 10,000; got 0"), ("--held-out=1", "above 0, below 1; got 1")):
        with pytest.raises(SystemExit) as left:
            tuned("--term", "dkd", wrong)
        assert left.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith(said)
    assert not trained[0]


def test_what_is_printed_has_the_verdict_and_the_overrides(place, trained, capsys):
    cli.main(["tune", "some.yaml", "--term", "dkd", "--budget", "4", "--out", "out"])
    printed = capsys.readouterr().out
    assert "Trial 4 is better than the recipe's own values" in printed
    assert re.search(rf"^to take +{PLACE}\.weight=2\.0 {PLACE}\.temperature=1\.78$", printed, re.MULTILINE)
