"""What W&B really wrote, read back from its own file; and that a run goes on whatever W&B does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssld import track
from tests.unit.fake_run import logged_steps, metric_line, sample_arrays
from tests.unit.wandb_file import kinds, plain

CONFIG = {"student": {"arch": "MobileNetV3_small_x0_35"}, "stages": {"distill": {"optim": {"lr": 0.1}}}}


@pytest.fixture(autouse=True)
def environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """`start` sets where W&B may write; each test leaves the environment as it was."""
    for kind in ("CACHE", "DATA", "ARTIFACT", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", "unset")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


@pytest.fixture(scope="module", autouse=True)
def wandb_ends_with_this_file() -> Iterator[None]:
    """W&B's process is named in the environment: a later test's subprocess would use it too."""
    yield
    import wandb

    wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


def start(folder: Path, mode: str = "offline") -> track.Track:
    return track.start(folder, name="quickstart-0123", run_id="0123", config=CONFIG, mode=mode)


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was interrupted at step 6 of its second stage, and resumed from the checkpoint of step 4."""
    folder = tmp_path_factory.mktemp("run")
    np.savez(folder / "samples.npz", **sample_arrays(count=6))
    (folder / "model.onnx").write_bytes(b"weights")
    with start(folder) as log:
        for step in range(1, 4):
            log.log(metric_line("teach", step))
        log.log(metric_line("teach", 3, "eval", top1=90.0))
        for step in range(1, 7):
            log.log(metric_line("distill", step))
    with start(folder) as log:
        log.rewind("distill", 4)
        for step in range(5, 9):
            log.log(metric_line("distill", step, **{"loss": 0.5, "loss/ssld": np.float32(0.25)}))
        log.summary({"top1": 96.33, "gain": 5.16, "teacher_top1": None})
        log.samples(folder / "samples.npz")
        log.artifact("quick start/student", "model", [folder / "model.onnx"], {"top1": 96.33})
    return folder


def test_an_offline_run_holds_the_config(offline_run: Path) -> None:
    run = kinds(offline_run, "run")[0]
    config = plain(run.config.update)
    assert (run.run_id, run.project, run.display_name) == ("0123", "ssld", "quickstart-0123")
    assert {key: config[key] for key in CONFIG} == CONFIG


def test_an_offline_run_holds_the_curves_over_a_step_that_never_falls_within_a_part(offline_run: Path) -> None:
    rows = [plain(history.item) for history in kinds(offline_run, "history")]
    curve = [(row["_step"], row["distill/step"]) for row in rows if "distill/train/loss" in row]
    assert curve == [(4, 1), (5, 2), (6, 3), (7, 4), (8, 5), (9, 6), (8, 5), (9, 6), (10, 7), (11, 8)]
    both = next(row for row in rows if row.get("teach/step") == 3)
    assert both["teach/eval/top1"] == 90.0
    assert both["teach/train/loss"] == pytest.approx(1 / 3)
    assert next(row for row in rows if "distill/train/loss/ssld" in row)["distill/train/loss/ssld"] == 0.25


def test_a_curve_has_the_step_of_its_stage_as_axis(offline_run: Path) -> None:
    axes = {metric.glob_name: metric.step_metric for metric in kinds(offline_run, "metric") if metric.glob_name}
    assert axes == {"teach/*": "teach/step", "distill/*": "distill/step"}


def test_an_offline_run_holds_the_summary(offline_run: Path) -> None:
    summary: dict[str, Any] = {}
    for record in kinds(offline_run, "summary"):
        summary |= plain(record.update)
    assert (summary["top1"], summary["gain"], summary["teacher_top1"]) == (96.33, 5.16, None)


def test_an_offline_run_holds_the_sample_table_with_its_images(offline_run: Path) -> None:
    (file,) = offline_run.glob("wandb/offline-run-*/files/media/table/samples*.json")
    table = json.loads(file.read_text())
    columns = [
        "image",
        "label",
        *(f"{n}{part}" for n in ("teacher", "baseline", "student") for part in ("", "_probability")),
    ]
    arrays = sample_arrays(count=6)
    assert table["columns"] == columns
    assert [row[1] for row in table["data"]] == [f"digit {label}" for label in arrays["label"]]
    assert [row[6] for row in table["data"]] == [f"digit {scores.argmax()}" for scores in arrays["student"]]
    held = next(artifact for artifact in kinds(offline_run, "artifact") if artifact.type == "run_table")
    images = [entry for entry in held.manifest.contents if entry.path.endswith(".png")]
    assert len(images) == 6
    assert all(Path(entry.local_path).is_relative_to(offline_run) for entry in images)


def test_an_offline_run_holds_the_exported_model_as_an_artifact(offline_run: Path) -> None:
    (artifact,) = [artifact for artifact in kinds(offline_run, "artifact") if artifact.type == "model"]
    assert artifact.name == "quick-start-student"
    assert json.loads(artifact.metadata) == {"top1": 96.33}
    assert [(entry.path, entry.local_path) for entry in artifact.manifest.contents] == [
        ("model.onnx", str(offline_run / "model.onnx"))
    ]


def test_wandb_keeps_out_of_the_users_folders_and_of_the_machine(offline_run: Path) -> None:
    assert not list(offline_run.glob("wandb/**/code/*"))
    assert not list(offline_run.glob("wandb/**/wandb-metadata.json"))
    assert (offline_run / "wandb" / "cache").is_dir()
    assert not kinds(offline_run, "environment")


def test_metrics_of_a_resumed_run_hold_every_step_once(offline_run: Path) -> None:
    assert logged_steps(offline_run, "distill") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert logged_steps(offline_run, "teach") == [1, 2, 3, 3]


def goes_on(log: track.Track, folder: Path, capsys: pytest.CaptureFixture[str], reason: str) -> None:
    """The run logs on, and there was one warning, of one line."""
    for step in range(1, 4):
        log.log(metric_line("distill", step))
    log.summary({"top1": 1.0})
    log.artifact("model", "model", [folder / "metrics.jsonl"], {})
    log.finish()
    warning = capsys.readouterr().err
    assert logged_steps(folder, "distill") == [1, 2, 3]
    assert warning.startswith("warning: W&B: ")
    assert reason in warning
    assert warning.count("\n") == 1


def test_a_run_goes_on_where_wandb_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    goes_on(start(tmp_path), tmp_path, capsys, "ModuleNotFoundError")


def test_a_run_goes_on_where_wandb_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wandb").write_text("a file where W&B wants its folder")
    goes_on(start(tmp_path), tmp_path, capsys, "FileExistsError")


def test_a_run_goes_on_where_wandb_refuses_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = track.start(tmp_path, name="n", run_id="not/an/id", config={}, mode="offline")
    goes_on(log, tmp_path, capsys, "UsageError")


def test_a_run_goes_on_where_nobody_is_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    (tmp_path / "run").mkdir()
    goes_on(start(tmp_path / "run", "online"), tmp_path / "run", capsys, "API key")


def test_a_run_goes_on_when_wandb_ends_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = start(tmp_path)
    log.wandb.finish()
    goes_on(log, tmp_path, capsys, "finished")


def test_a_run_goes_on_when_the_process_of_wandb_is_killed(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from pathlib import Path
from ssld import track
log = track.start(Path(sys.argv[1]), name="n", run_id="0123", config={}, mode="offline")
log.log({"kind": "train", "stage": "distill", "step": 1, "loss": 1.0})
children = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit()
            and (p / "stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())]
assert children
for child in children:
    os.kill(child, signal.SIGKILL)
for step in range(2, 12):
    log.log({"kind": "train", "stage": "distill", "step": step, "loss": 1.0})
    time.sleep(0.02)
log.finish()
sys.stderr.flush()
os._exit(0)  # W&B's own exit handler prints a traceback about its lost process
"""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc here")
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}  # a process of its own
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert logged_steps(tmp_path, "distill") == list(range(1, 12))
    assert done.stderr.startswith("warning: W&B: ")
    assert done.stderr.count("\n") == 1
