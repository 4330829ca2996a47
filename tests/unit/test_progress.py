"""These tests ask what is shown while something runs, in a log file and on a terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ssld import progress as module
from ssld.progress import clock, plain_table, progress, table


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    fake_time = Clock()
    monkeypatch.setattr(module, "time", fake_time)
    return fake_time


def test_a_log_file_gets_the_first_and_the_last_line_and_one_in_ten_seconds(
    time: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(4000, "distill") as bar:
        for done in range(100, 4001, 100):
            time.now += 1
            bar.update(done, loss=0.4123, top1=91.25, lr=0.1)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "distill: 4,000 img",
        "distill     25 %  100 img/s  0:30 left  loss 0.412  top-1 91.2 %",
        "distill     50 %  100 img/s  0:20 left  loss 0.412  top-1 91.2 %",
        "distill     75 %  100 img/s  0:10 left  loss 0.412  top-1 91.2 %",
        "distill    100 %  100 img/s  0:00 left  loss 0.412  top-1 91.2 %",
        "distill    100 %  100 img/s  in 0:40  loss 0.412  top-1 91.2 %",
    ]


def test_the_time_left_after_a_resume_counts_only_the_work_of_this_process(time: Clock) -> None:
    with progress(1000, "distill", start=800, quiet=True) as bar:
        time.now += 10
        bar.update(900)
        assert bar.seconds_left() == pytest.approx(10)
        assert bar.rate() == pytest.approx(10)


def test_an_evaluation_counts_for_the_time_left_but_not_for_the_rate(time: Clock) -> None:
    with progress(1000, "distill", quiet=True) as bar:
        time.now += 10
        bar.update(500)
        time.now += 30
        bar.update(500, val_top1=90.0)
        assert bar.rate() == pytest.approx(50)
        time.now += 2
        assert bar.rate(600) == pytest.approx(50)
        bar.update(600)
        assert bar.seconds_left() == pytest.approx(400 * 42 / 600)


def test_the_rate_looks_back_a_limited_time(time: Clock) -> None:
    with progress(10000, "distill", quiet=True) as bar:
        for done, seconds in ((10, 100), (1010, 10), (2010, 10), (3010, 10)):
            time.now += seconds
            bar.update(done)
        assert bar.rate() == pytest.approx(100)


def test_the_rate_of_no_time_is_a_number() -> None:
    assert progress(10, "x", quiet=True).rate(0) == 0.0


def test_a_quiet_bar_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(10, "distill", quiet=True) as bar:
        bar.update(5, loss=1.0)
    assert capsys.readouterr() == ("", "")


def test_a_stage_that_is_stopped_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        with progress(10, "distill") as bar:
            bar.update(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    last = capsys.readouterr().err.splitlines()[-1]
    assert " 40 %" in last
    assert last.endswith("(stopped)")


def test_work_of_one_piece_shows_its_time_only(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(1, "export"):
        time.now += 75
    assert capsys.readouterr().err == "export ...\nexport     in 1:15\n"


def test_work_whose_size_is_learnt_on_the_way(time: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress(0, "prepare", unit="files") as bar:
        for done in (1, 2):
            time.now += 1
            bar.count(done, 2)
    assert capsys.readouterr().err.splitlines()[-1] == "prepare    100 %  1 files/s  in 0:02"


def test_times_read_like_a_clock() -> None:
    assert [clock(seconds) for seconds in (0.4, 59.6, 725, 7383)] == ["0:00", "1:00", "12:05", "2:03:03"]


def test_a_table_elsewhere_than_on_a_terminal_is_aligned_text(capsys: pytest.CaptureFixture[str]) -> None:
    table(
        [{"network": "teacher", "top-1": "96.83 %", "gain": None}, {"network": "a", "top-1": 9, "gain": "+5"}], "Title"
    )
    assert capsys.readouterr().out == "Title\nnetwork    top-1  gain\nteacher  96.83 %     -\na              9    +5\n"


def test_an_empty_table_is_its_title() -> None:
    assert plain_table([], "Title") == "Title\n"


def test_a_terminal_keeps_the_finished_bar_of_every_stage() -> None:
    script = """
from ssld.progress import note, progress, table
for stage in ("teach", "distill"):
    with progress(100, stage) as bar:
        bar.update(50, loss=1.25, top1=50.0)
        note(f"a note of [{stage}]")
table([{"network": "student [x]", "top-1": "96.33 %"}], "Result")
"""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "100", "TERM": "xterm"}
    subprocess.run([sys.executable, "-c", script], stdout=theirs, stderr=theirs, env=environment, check=True)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other end of the terminal is closed
        pass
    os.close(ours)
    text = shown.decode()
    for part in (
        "teach",
        "distill",
        "a note of [distill]",
        "loss 1.250",
        "top-1 50.0 %",
        "100 %",
        "student [x]",
        "96.33 %",
    ):
        assert part in text
