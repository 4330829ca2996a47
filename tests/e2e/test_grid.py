"""`ssld grid`: real runs of tiny networks side by side, whose table and page are made of what they measured."""

import csv
import json

import pytest

from ssld.config import grid as grids
from ssld.data import fake
from ssld.errors import RunError
from ssld.report import grid_results, which_method
from tests.e2e.command import fails, ssld, succeeds, write_recipe

BASE = {
    "classes": 4,
    "stage": {
        "epochs": 2,
        "data": {"train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 24, "batch": 8, "threads": 1},
        "optim": {"lr": 0.01},
    },
}
GRID = {
    "base": "base.yaml",
    "seeds": 2,
    "teachers": {"large": {"arch": "MobileNetV3_small_x0_5"}},
    "teach": {"loss": {"ce": {}}},
    "pairs": {"small": {"student": {"arch": "MobileNetV3_small_x0_35"}, "teachers": ["large"]}},
    "methods": {"kl": None, "hot": {"recipe": "kl", "stages": {"distill": {"loss": {"kl": {"temperature": 9.0}}}}}},
    "companions": False,
    "tune": {"budget": 2, "held_out": 0.5},
}
WORDS = ("grid", "mine.yaml", "--wandb", "disabled", "--out", "out")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("place")
    fake(place / "data" / "d", 4, train=16, val=12, unlabelled=0, size=20)
    write_recipe(place, BASE, "base.yaml")
    write_recipe(place, GRID, "mine.yaml")
    done = ssld(*WORDS, "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"finished": 4, "failed": [], "results": "experiments/grids/mine.csv"}
    return place


def rows_of(place):
    with (place / "experiments/grids/mine.csv").open() as lines:
        return list(csv.DictReader(lines))


def test_students_of_a_seed_have_one_teacher_one_start_and_as_many_steps(place):
    rows = rows_of(place)
    assert [(row["method"], row["seed"]) for row in rows] == [("kl", "0"), ("hot", "0"), ("kl", "1"), ("hot", "1")]
    assert len({row["teacher"] for row in rows}) == 1
    assert [len({row["start"] for row in rows if row["seed"] == seed}) for seed in "01"] == [1, 1]
    assert len({row["start"] for row in rows}) == 2
    assert {row["steps"] for row in rows} == {"4"}
    (teacher,) = place.glob("out/runs/teacher-large-*")
    trained = json.loads((teacher / "result.json").read_text())["stages"]["teach"]["sha256"]
    assert trained.startswith(rows[0]["teacher"])
    for row in rows:
        (run,) = place.glob(f"out/runs/small-{row['method']}-{row['digest'][:8]}")
        result = json.loads((run / "result.json").read_text())
        assert (f"{result['top1']:.4f}", result["plan"]["seed"]) == (row["top1"], int(row["seed"]))
        assert float(row["best"]) >= float(row["top1"])


def test_the_same_command_repeats_no_finished_run_and_makes_anew_what_is_lost(place):
    before = rows_of(place)
    files = sorted(place.glob("out/runs/*/stages/*/model.safetensors"))
    times = [file.stat().st_mtime_ns for file in files]
    (lost,) = [run for run in place.glob("out/runs/small-hot-*") if "\nseed: 1\n" in (run / "plan.yaml").read_text()]
    (lost / "result.json").unlink()
    succeeds(*WORDS, cwd=place)
    assert [file.stat().st_mtime_ns for file in files] == times
    assert rows_of(place) == before


def test_tuned_runs_have_the_best_values_of_a_search_and_stand_beside_the_others(place):
    default = rows_of(place)
    done = ssld(*WORDS, "--tuned", "--only", "kl", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    (search,) = place.glob("out/searches/small-kl-2")
    best = json.loads((search / "tune.json").read_text())["best_values"]
    rows = [row for row in rows_of(place) if row["mode"] == "tuned"]
    assert [(row["method"], row["seed"]) for row in rows] == [("kl", "0"), ("kl", "1")]
    assert [row["start"] for row in rows] == [row["start"] for row in default if row["method"] == "kl"]
    for row in rows:
        (run,) = place.glob(f"out/runs/small-kl-tuned-{row['digest'][:8]}")
        term = json.loads((run / "result.json").read_text())["plan"]["stages"]["distill"]["loss"]["kl"]
        assert {f"stages.distill.loss.kl.{key}": term[key] for key in ("weight", "temperature")} == best
    assert [row for row in rows_of(place) if row["mode"] == "default"] == default


def test_a_run_that_fails_is_named_with_its_log_and_the_others_go_on(place):
    bad = {"stages": {"distill": {"loss": {"ce": {"weight": 1e9}}}}}
    write_recipe(place, {**GRID, "name": "worse", "methods": {**GRID["methods"], "bad": bad}}, "worse.yaml")
    done = ssld("grid", "worse.yaml", *WORDS[2:], "--only", "bad", "--json", cwd=place)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["finished"], len(result["failed"])) == (0, 2)
    log = min(place.glob("out/logs/small-bad-*.log"))
    assert "loss is nan; lower optim.lr" in log.read_text()
    assert str(log.relative_to(place)) in done.stderr


def test_an_unfair_method_is_refused_before_anything_is_trained(place):
    slow = {"recipe": "kl", "stages": {"distill": {"optim": {"lr": 0.02}}}}
    write_recipe(place, {**GRID, "methods": {"kl": None, "slow": slow}}, "unfair.yaml")
    line = fails("grid", "unfair.yaml", "--out", "elsewhere", cwd=place)
    assert line == ("ssld grid: unfair: methods.slow: optim.lr is 0.02, and 0.01 for kl; give all methods the same")
    assert not list(place.glob("elsewhere/runs/*"))


def test_the_page_refuses_a_table_of_which_a_run_had_another_start(place):
    rows = grid_results.read(place / "experiments/grids/mine.csv")
    grid = grids.load(str(place / "mine.yaml"))
    measured = which_method.Measured(grid, rows)
    measured.check()
    assert measured.compared("small")["hot"].seeds == 2
    for column, value in (("start", "other"), ("steps", 5), ("teacher", "other")):
        wrong = [{**row, column: value} if (row["method"], row["seed"]) == ("hot", 1) else row for row in rows]
        with pytest.raises(RunError, match=f"^mine: small, hot, seed 1: {column} is not that of kl; `ssld grid` runs"):
            which_method.Measured(grid, wrong).check()
