"""`ssld sweep --local`: real trials of a tiny network, one of which diverges; no network, no account."""

import json

import pytest

from ssld.data import fake
from tests.e2e.command import ssld, succeeds, write_recipe
from tests.unit.wandb_file import kinds, plain

LR = "stages.plain.optim.lr"
TREE = {
    "classes": 4,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "stages": {
        "plain": {
            "epochs": 8,
            "eval_every": 8,
            "loss": {"ce": {}},
            "data": {"train": ["d/train_labelled.txt"], "val": "d/val.txt", "size": 24, "batch": 8, "threads": 1},
            "optim": {"lr": 0.01, "weight_decay": 1.0},  # with a rate of 1,000 weights grow a thousandfold a step
        }
    },
    "export": {"formats": ["paddle"]},
    "bench": {"engines": ["paddle"], "warmup": 1, "repeats": 2},
}
SWEEP = {
    "recipe": "some.yaml",
    "method": "grid",
    "metric": {"name": "plain/loss", "goal": "minimize"},
    "parameters": {LR: {"values": [1000.0, 0.01]}},
}
WORDS = ("sweep", "lr.yaml", "--local", "--tensorboard", "--wandb-project", "mine", "--json")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder in which the sweep has run once."""
    place = tmp_path_factory.mktemp("place")
    fake(place / "data" / "d", 4, train=16, val=12, unlabelled=0, size=20)
    write_recipe(place, TREE)
    write_recipe(place, SWEEP, "lr.yaml")
    done = ssld(*WORDS, cwd=place)
    assert done.returncode == 0, done.stderr
    (place / "stdout").write_text(done.stdout)
    return place


@pytest.fixture(scope="module")
def runs(place):
    """The run folders of the two trials."""
    rows = json.loads((place / "stdout").read_text())["rows"]
    return {row["state"]: place / "runs" / f"some-{row['digest'][:8]}" for row in rows}


def test_the_table_has_the_finished_trial_first_and_the_diverged_one_without_numbers(place):
    rows = json.loads((place / "stdout").read_text())["rows"]
    assert [(row["trial"], row[LR], row["state"]) for row in rows] == [(2, 0.01, "finished"), (1, 1000.0, "failed")]
    assert rows[0]["plain/loss"] > 0
    assert rows[1]["plain/loss"] is None
    assert "# lr: 2 of 2 trials" in (place / "experiments/sweeps/lr.md").read_text()
    (kept,) = place.glob("experiments/sweeps/results/some/*.json")
    assert json.loads(kept.read_text())["plan"]["stages"]["plain"]["optim"]["lr"] == 0.01


def test_a_loss_that_becomes_nan_is_an_alert_in_wandb(runs):
    (alert,) = kinds(runs["failed"], "alert")
    assert (alert.title, alert.level) == (f"{runs['failed'].name} stopped", "ERROR")
    assert "the loss became" in alert.text


def test_a_trial_stands_in_wandb_with_project_group_tags_flat_plan_and_summary(runs):
    folder = runs["finished"]
    (run,) = kinds(folder, "run")
    assert (run.project, run.job_type, run.display_name) == ("mine", "train", folder.name)
    assert run.run_group.startswith("some-")
    assert list(run.tags) == ["full", "MobileNetV3_small_x0_35", "sweep-lr"]
    config = plain(run.config.update)
    assert (config[LR], config["stages.plain.data.train"]) == (0.01, ["d/train_labelled.txt"])
    result, told = json.loads((folder / "result.json").read_text()), {}
    for record in kinds(folder, "summary"):
        told |= plain(record.update)
    assert (told["top1"], told["plain/loss"]) == (pytest.approx(result["top1"]), result["stages"]["plain"]["loss"])
    names = {
        artifact.name: json.loads(artifact.metadata) for artifact in kinds(folder, "artifact") if artifact.metadata
    }
    student = names["some-student-MobileNetV3_small_x0_35"]
    assert student["digest"] == result["stages"]["plain"]["digest"]
    assert names["some-MobileNetV3_small_x0_35"]["made_from"] == {
        "some-student-MobileNetV3_small_x0_35": student["digest"]
    }
    assert list(folder.glob("tensorboard/plain/events.out.tfevents.*"))


def test_the_same_command_repeats_no_finished_trial(place, runs):
    before = (runs["finished"] / "result.json").stat().st_mtime_ns
    again = json.loads(succeeds(*WORDS, cwd=place))
    assert again == json.loads((place / "stdout").read_text())
    assert (runs["finished"] / "result.json").stat().st_mtime_ns == before
