"""One process at a time in a run folder."""

import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import pytest

from ssld import run
from ssld.config import recipe
from ssld.distill.runs import Run
from ssld.errors import RunError
from ssld.files import alone
from ssld.runtime import Runtime
from tests.unit.some_recipe import TREE, written

HERE = Runtime(rank=0, world=1, gpu=None)
SITS_IN = """
import sys, time
from pathlib import Path
from ssld.files import alone
with alone(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def sitting(tmp_path):
    """Another process that is in the folder `tmp_path`, until the test ends or kills it."""
    process = subprocess.Popen([sys.executable, "-c", SITS_IN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    yield process
    process.kill()
    process.communicate()


def test_nobody_gets_into_a_folder_that_another_process_is_in_until_it_is_killed(sitting, tmp_path):
    with pytest.raises(BlockingIOError), alone(tmp_path, 0.2):
        pass
    threading.Timer(0.5, sitting.kill).start()
    start = time.monotonic()
    with alone(tmp_path, 60):
        assert sitting.wait(10) < 0
    assert 0.3 < time.monotonic() - start < 20
    with alone(tmp_path, 0):  # left, it can be entered again
        pass


def test_a_second_run_in_the_same_folder_waits_and_then_says_why_not(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    this = Run.of_plan(recipe.load(written(tmp_path, TREE)), out, HERE)
    monkeypatch.setattr(run, "PATIENCE", 0.3)
    with run.opened(this):
        text = (out / "plan.yaml").read_text()
        said = "out: another process is at work in it; let it end, or choose another --out"
        with pytest.raises(RunError, match=said), run.opened(this):
            raise AssertionError("two are in")
        assert capsys.readouterr().err == f"{out}: another process is at work in it; waiting 0.3 s for its end\n"
        assert (out / "plan.yaml").read_text() == text
        with run.opened(replace(this, runtime=Runtime(rank=1, world=1, gpu=None))):  # another rank of the first
            pass
    with run.opened(this):
        pass
    assert capsys.readouterr().err == ""


def test_a_folder_in_which_no_step_was_made_becomes_that_of_the_mended_recipe(tmp_path):
    out, left = tmp_path / "out", "partial-4194304"
    first = Run.of_plan(recipe.load(written(tmp_path, TREE), ["seed=1"]), out, HERE)
    with run.opened(first):
        pass
    stage = out / "stages" / "plain-01234567"
    (stage / f"checkpoint-00000001.{left}").mkdir(parents=True)
    for file in (stage / "made_of.json", out / f"result.json.{left}"):
        file.write_text("{}")
    mended = Run.of_plan(recipe.load(written(tmp_path, TREE), ["seed=2"]), out, HERE)
    with run.opened(mended):
        assert [path.name for path in out.iterdir()] == ["plan.yaml"]
    step = out / "stages" / "plain-01234567" / "checkpoint-00000001"
    step.mkdir(parents=True)
    with (
        pytest.raises(RunError, match=r"recipe \(seed is 2 there and 1 here\); choose another --out$"),
        run.opened(first),
    ):
        raise AssertionError("a step was made with another seed")
    (out / "plan.yaml").write_text("# digest: 0\n{")  # it cannot be read
    with pytest.raises(RunError, match=r"recipe; choose another --out$"), run.opened(first):
        raise AssertionError("this is the run of another recipe")


def test_a_kill_while_a_folder_is_made_does_not_lock_it_and_what_it_left_is_cleared(tmp_path):
    out, left = tmp_path / "out", "partial-4194304"
    this = Run.of_plan(recipe.load(written(tmp_path, TREE)), out, HERE)
    out.mkdir()
    for name in (f"plan.yaml.{left}", "fresh"):
        (out / name).write_text("asked")
    with run.opened(this):
        assert sorted(path.name for path in out.iterdir()) == ["fresh", "plan.yaml"]
    stage = this.last.folder
    stage.mkdir(parents=True)
    (out / f".export.{left}").mkdir()
    (stage / f"model.safetensors.{left}").write_bytes(b"half")
    with run.opened(this):
        assert sorted(path.name for path in out.iterdir()) == ["fresh", "plan.yaml", "stages"]
        assert not [*stage.iterdir()]


def test_a_run_goes_on_when_the_one_before_has_ended_meanwhile(tmp_path):
    this, first = Run.of_plan(recipe.load(written(tmp_path, TREE)), tmp_path / "out", HERE), ExitStack()
    first.enter_context(run.opened(this))
    threading.Timer(0.5, first.close).start()
    with run.opened(this):
        pass
