"""metrics.jsonl through kills and resumes."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssld import track
from ssld.errors import RunError
from tests.unit.fake_run import logged_steps, metric_line


def start(folder: Path, mode: str = "disabled") -> track.Track:
    return track.start(folder, name="quickstart-0123", run_id="0123", config={}, mode=mode)


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
    assert log.step == 4


def test_a_number_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="stage teach, step 7: loss is nan"):
        start(tmp_path).log(metric_line("teach", 7, loss=np.float32("nan")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error_of_one_line(tmp_path: Path) -> None:
    log = start(tmp_path)
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(RunError, match="No space left") as caught:
        log.log(metric_line("teach", 1))
    assert "\n" not in str(caught.value)


def test_the_other_ranks_leave_nothing(tmp_path: Path) -> None:
    with start(tmp_path, "silent") as log:
        log.rewind("teach", 0)
        log.log(metric_line("teach", 1))
        log.summary({"top1": 1.0})
        log.artifact("a", "model", [], {})
    assert not list(tmp_path.iterdir())


def test_an_unknown_mode_is_an_error_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="did you mean 'offline'"):
        start(tmp_path, "offlin")
