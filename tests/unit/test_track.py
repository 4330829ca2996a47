"""These tests ask what metrics.jsonl holds, and what every logger gets, through kills and resumes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssld import track
from ssld.errors import RunError
from ssld.track.jsonl import Jsonl
from tests.unit.fake_run import logged_steps, metric_line

ABOUT = track.About(name="quickstart-0123", run_id="0123")


def start(folder: Path, mode: str = "disabled") -> track.Track:
    return track.start(folder, ABOUT, track.Options(wandb=mode))


class Listener(track.Logger):
    """A logger that keeps what it gets."""

    name = "listener"

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def begin(self, records: Iterable[tuple[int, dict[str, Any]]]) -> None:
        self.heard = [(step, record["stage"], record["step"]) for step, record in records]

    def log(self, step: int, record: dict[str, Any]) -> None:
        self.heard.append((step, record["stage"], record["step"]))

    def alert(self, title: str, text: str) -> None:
        self.heard.append((title, text))

    def finish(self, failed: bool) -> None:
        self.heard.append(("finish", failed))


class Broken(Listener):
    name = "broken"

    def log(self, step: int, record: dict[str, Any]) -> None:
        raise OSError("no room")


def listened(folder: Path, *loggers: track.Logger) -> track.Track:
    return track.Track(Jsonl(folder / "metrics.jsonl"), loggers, "quickstart-0123")


def test_a_line_is_on_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    log = start(tmp_path)
    log.log(metric_line("teach", 1, loss=np.float32(0.5), top1=np.float64(50), images=np.int64(3)))
    record = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert record == {
        "kind": "train",
        "stage": "teach",
        "step": 1,
        "epoch": 0.25,
        "loss": 0.5,
        "top1": 50.0,
        "images": 3,
    }


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    log = start(tmp_path)
    for step in (1, 2):
        log.log(metric_line("teach", step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "stage": "teach", "st')
    start(tmp_path).log(metric_line("teach", 3))
    assert logged_steps(tmp_path, "teach") == [1, 2, 3]


def test_a_whole_last_line_without_its_newline_is_kept(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(json.dumps(metric_line("teach", 1)))
    start(tmp_path).log(metric_line("teach", 2))
    assert logged_steps(tmp_path, "teach") == [1, 2]


def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(tmp_path: Path) -> None:
    good = json.dumps(metric_line("teach", 1))
    (tmp_path / "metrics.jsonl").write_text(f"{good}\nnonsense\n{good}\n")
    with pytest.raises(RunError, match="line 2"):
        start(tmp_path)


def test_rewinding_leaves_other_stages_alone(tmp_path: Path) -> None:
    log = start(tmp_path)
    for stage in ("teach", "distill"):
        for step in range(1, 5):
            log.log(metric_line(stage, step))
    log.rewind("distill", 0)
    assert (logged_steps(tmp_path, "teach"), logged_steps(tmp_path, "distill")) == ([1, 2, 3, 4], [])


def test_rewinding_forgets_an_evaluation_that_is_made_again(tmp_path: Path) -> None:
    log = start(tmp_path)
    for kind, step in (("train", 1), ("eval", 1), ("train", 2), ("eval", 2)):
        log.log({**metric_line("teach", step), "kind": kind})
    log.rewind("teach", 2)
    assert logged_steps(tmp_path, "teach") == [1, 1, 2, 2]
    log.rewind("teach", 2, evaluated=False)
    assert logged_steps(tmp_path, "teach") == [1, 1, 2]


def test_a_logger_of_a_resumed_run_is_told_every_step_once_and_steps_never_fall(tmp_path: Path) -> None:
    with listened(tmp_path, Listener()) as log:
        for stage, last in (("teach", 2), ("distill", 3)):
            for step in range(1, last + 1):
                log.log(metric_line(stage, step))
    listener = Listener()
    log = listened(tmp_path, listener)
    log.rewind("distill", 1)
    assert listener.heard == [(1, "teach", 1), (2, "teach", 2), (3, "distill", 1)]
    log.log(metric_line("distill", 2))
    log.log(metric_line("fix", 1))
    assert listener.heard[3:] == [(4, "distill", 2), (5, "fix", 1)]


def test_a_stage_that_takes_steps_back_after_others_were_told_begins_the_loggers_anew(tmp_path: Path) -> None:
    listener = Listener()
    log = listened(tmp_path, listener)
    for stage in ("teach", "distill"):
        log.rewind(stage, 0)
        log.log(metric_line(stage, 1))
    log.rewind("distill", 0)
    assert listener.heard == [(1, "teach", 1)]


def test_a_logger_that_fails_costs_one_warning_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener()
    with listened(tmp_path, Broken(), listener) as log:
        for step in (1, 2):
            log.log(metric_line("teach", step))
    assert listener.heard == [(1, "teach", 1), (2, "teach", 2), ("finish", False)]
    assert logged_steps(tmp_path, "teach") == [1, 2]
    assert capsys.readouterr().err == (
        "warning: broken: OSError: no room; the run goes on without it, its numbers are in metrics.jsonl\n"
    )


def test_a_loss_that_becomes_nan_is_an_alert(tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(RunError), listened(tmp_path, listener) as log:  # noqa: PT012 - the alert comes at the exit
        log.log(metric_line("teach", 1))
        log.log(metric_line("teach", 2, loss=float("nan")))
    (title, text), end = listener.heard[-2:]
    assert title == "quickstart-0123 stopped"
    assert text.startswith("stage teach, step 2: loss is nan")
    assert end == ("finish", True)


def test_a_run_that_is_interrupted_alerts_nobody(tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(KeyboardInterrupt), listened(tmp_path, listener):
        raise KeyboardInterrupt
    assert listener.heard == [("finish", True)]


def test_a_number_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="stage teach, step 7: loss is nan"):
        start(tmp_path).log(metric_line("teach", 7, loss=np.float32("nan")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    log = start(tmp_path)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"metrics.jsonl: the disk is full; free some space; repeat") as caught:
        log.log(metric_line("teach", 1))
    assert "\n" not in str(caught.value)


def test_the_other_ranks_leave_nothing(tmp_path: Path) -> None:
    with start(tmp_path, "silent") as log:
        log.rewind("teach", 0)
        log.log(metric_line("teach", 1))
        log.summary({"top1": 1.0})
        log.artifact(track.Artifact(name="a", kind="model", files=(), digest="0"))
    assert not list(tmp_path.iterdir())


def test_an_unknown_mode_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="did you mean 'offline'"):
        start(tmp_path, "offlin")
