"""These tests read event files as a viewer reads them."""

import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from ssld import track
from ssld.errors import RunError
from tests.unit.event_file import curves, values
from tests.unit.fake_run import metric_line, sample_arrays


def start(folder: Path) -> track.Track:
    options = track.Options(wandb="disabled", tensorboard=True)
    return track.start(folder, track.About(name="quickstart-0123", run_id="0123"), options)


def test_each_stage_has_its_curves_over_its_own_step(tmp_path: Path) -> None:
    with start(tmp_path) as log:
        for stage in ("teach", "distill"):
            for step in (1, 2):
                log.log(metric_line(stage, step, loss=np.float32(1 / step), images=64 * step))
        log.log(metric_line("distill", 2, "eval", top1=75.0))
    assert curves(tmp_path / "tensorboard" / "teach") == {"train/loss": [(1, 1.0), (2, 0.5)]}
    assert curves(tmp_path / "tensorboard" / "distill") == {
        "train/loss": [(1, 1.0), (2, 0.5)],
        "eval/top1": [(2, 75.0)],
    }


def test_no_file_is_named_after_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "desk.lab-7")
    with start(tmp_path) as log:
        log.log(metric_line("teach", 1))
        log.log(metric_line("teach", 2))
    (file,) = tmp_path.glob("tensorboard/teach/*")
    assert re.fullmatch(r"events\.out\.tfevents\.\d+\.ssld", file.name)
    assert [step for step, _ in curves(file.parent)["train/loss"]] == [1, 2]


def test_a_resumed_run_shows_every_step_once(tmp_path: Path) -> None:
    with start(tmp_path) as log:
        for step in range(1, 5):
            log.log(metric_line("distill", step))
    (file,) = tmp_path.glob("tensorboard/distill/*")
    # A writer that starts in another second has another file name.
    file.rename(file.with_name("events.out.tfevents.1700000000.host"))
    with start(tmp_path) as log:
        log.rewind("distill", 2)
        for step in range(3, 6):
            log.log(metric_line("distill", step))
    shown = curves(tmp_path / "tensorboard" / "distill")["train/loss"]
    assert [step for step, _ in shown] == [1, 2, 3, 4, 5]


def test_the_result_is_shown_with_its_samples_and_alerts(tmp_path: Path) -> None:
    np.savez(tmp_path / "samples.npz", **sample_arrays(count=3))
    with pytest.raises(RunError), start(tmp_path) as log:  # noqa: PT012 - the alert comes at the exit
        log.summary({"top1": 96.5, "gain": None})
        log.samples(tmp_path / "samples.npz")
        raise RunError("stage distill: the loss became nan at step 7")
    values_by_tag = {value.tag: value for _, value in values(tmp_path / "tensorboard" / "result")}
    texts = {tag: value.tensor.string_val[0].decode() for tag, value in values_by_tag.items() if "text_summary" in tag}
    assert "| top1 | 96.5 |" in texts["summary/text_summary"]
    assert "the loss became nan at step 7" in texts["alert/text_summary"]
    assert texts["samples/text_summary"].startswith("| label | teacher | teacher_probability |")
    pictures = [value.image for value in values_by_tag.values() if value.WhichOneof("value") == "image"]
    assert [(image.height, image.width) for image in pictures] == [(40, 40)] * 3


def test_without_the_library_the_option_is_an_error_that_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(
        RunError, match=r'^--tensorboard: tensorboardX is not installed; pip install "ssld\[tensorboard'
    ):
        start(tmp_path)
