"""These tests read what W&B really wrote from its own file, and ask whether a run goes on whatever W&B does."""

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
from ssld.errors import RunError
from ssld.track.wandb import Wandb, artifact_name
from tests.unit.fake_run import logged_steps, metric_line, sample_arrays
from tests.unit.wandb_file import kinds, plain

CONFIG = {
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "stages": {"distill": {"optim": {"lr": 0.1}, "data": {"train": ["a.txt", "b.txt"]}, "labels": None}},
}


@pytest.fixture(autouse=True)
def environment_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment after each test, because `start` sets where W&B may write."""
    for kind in ("CACHE", "DATA", "ARTIFACT", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{kind}_DIR", "unset")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("WANDB_SILENT", "true")


def end_wandb() -> None:
    """End W&B's process, which is named in the environment and keeps the folders that it was started with."""
    import wandb

    wandb.teardown()
    os.environ.pop("WANDB_SERVICE", None)


@pytest.fixture(scope="module", autouse=True)
def own_wandb() -> Iterator[None]:
    """Neither use the process of an earlier test nor leave one to a later test, whose subprocess would use it too."""
    end_wandb()
    yield
    end_wandb()


ABOUT = track.About(
    name="quickstart-0123", run_id="0123", group="quickstart-abcd", tags=("full", "ResNet18"), config=CONFIG
)


def start(folder: Path, mode: str = "offline", about: track.About = ABOUT) -> track.Track:
    return track.start(folder, about, track.Options(wandb=mode, project="mine", tags=("night",)))


@pytest.fixture(scope="module")
def offline_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that was interrupted at step 6 of its second stage, and resumed from the checkpoint of step 4."""
    folder = tmp_path_factory.mktemp("run")
    np.savez(folder / "samples.npz", **sample_arrays(count=6))
    (folder / "model.onnx").write_bytes(b"weights")
    with start(folder) as log:
        for step in range(1, 4):
            log.log(metric_line("teach", step))
        log.log(metric_line("teach", 3, "eval", top1=90.0))
        for step in range(1, 7):
            log.log(metric_line("distill", step))
        log.alert("quickstart-0123 stopped", "the loss became nan at step 6")
    with start(folder) as log:
        log.rewind("distill", 4)
        for step in range(5, 9):
            log.log(metric_line("distill", step, **{"loss": 0.5, "loss/ssld": np.float32(0.25)}))
        log.summary({"top1": 96.33, "gain": 5.16, "teacher_top1": None})
        log.samples(folder / "samples.npz")
        log.artifact(
            track.Artifact(
                name="quick start/student",
                kind="model",
                files=(folder / "model.onnx",),
                digest="ab12",
                made_from={"teacher-ResNet18": "cd34"},
                metadata={"top1": 96.33},
            )
        )
        log.artifact(track.Artifact(name="teacher-ResNet18", kind="model", files=(), digest="cd34", used=True))
    return folder


def test_an_offline_run_holds_the_plan_under_dotted_keys(offline_run: Path) -> None:
    (run,) = kinds(offline_run, "run")
    config = plain(run.config.update)
    assert {key: value for key, value in config.items() if not key.startswith("_")} == {
        "student.arch": "MobileNetV3_small_x0_35",
        "stages.distill.optim.lr": 0.1,
        "stages.distill.data.train": ["a.txt", "b.txt"],
        "stages.distill.labels": None,
    }


def test_an_offline_run_says_where_it_belongs(offline_run: Path) -> None:
    (run,) = kinds(offline_run, "run")
    assert (run.run_id, run.project, run.display_name) == ("0123", "mine", "quickstart-0123")
    assert (run.run_group, run.job_type) == ("quickstart-abcd", "train")
    assert list(run.tags) == ["full", "ResNet18", "night"]
    assert run.host == ""  # W&B takes the name of the machine where none is given


def test_a_resumed_offline_run_is_one_part_with_every_step_once(offline_run: Path) -> None:
    """`wandb sync` keeps the last part of an id, so that part has to be whole."""
    assert len(list(offline_run.glob("wandb/offline-run-*"))) == 1
    rows = [plain(history.item) for history in kinds(offline_run, "history")]
    curve = [(row["_step"], row["distill/step"]) for row in rows if "distill/train/loss" in row]
    assert curve == [(4, 1), (5, 2), (6, 3), (7, 4), (8, 5), (9, 6), (10, 7), (11, 8)]
    teach = [(row["_step"], row["teach/train/loss"]) for row in rows if "teach/train/loss" in row]
    assert teach == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert next(row for row in rows if row.get("teach/step") == 3)["teach/eval/top1"] == 90.0
    assert next(row for row in rows if "distill/train/loss/ssld" in row)["distill/train/loss/ssld"] == 0.25


def test_a_process_that_has_changed_its_folder_writes_into_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's own process, which writes, keeps the folder in which the first run started it."""
    for name in ("first", "second"):
        (tmp_path / name / "run").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        with start(Path("run")) as log:
            log.log(metric_line("teach", 1))
        assert len(kinds(tmp_path / name / "run", "history")) == 1


def test_a_part_of_another_run_is_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / "wandb" / f"offline-run-20200101_000000-{run_id}" for run_id in ("4567", "labels-0123")]
    for other in others:
        other.mkdir(parents=True)
    with start(tmp_path) as log:
        log.log(metric_line("teach", 1))
    assert all(other.is_dir() for other in others)


def test_a_curve_has_the_step_of_its_stage_as_axis_and_epoch_and_images_beside_it(tmp_path: Path) -> None:
    with start(tmp_path) as log:
        log.log(metric_line("teach", 2, loss=1.0, images=128))
        log.log(metric_line("teach", 2, "eval", loss=0.5, top1=90.0, images=128))
        log.log(metric_line("teach", 4, "eval", loss=0.7, top1=80.0, images=256))
    metrics = kinds(tmp_path, "metric")
    assert {metric.glob_name: metric.step_metric for metric in metrics if metric.glob_name} == {"teach/*": "teach/step"}
    hidden = {metric.name for metric in metrics if metric.options.hidden}
    assert hidden == {"teach/step", "teach/epoch", "teach/images"}
    (first, last) = (plain(history.item) for history in kinds(tmp_path, "history"))
    axes = ("teach/step", "teach/epoch", "teach/images")
    assert [[row[axis] for axis in axes] for row in (first, last)] == [[2, 0.5, 128], [4, 1.0, 256]]
    assert first["teach/train/loss"] == 1.0


def test_the_summary_holds_the_best_of_the_evaluations(tmp_path: Path) -> None:
    with start(tmp_path) as log:
        for step, loss, top1 in ((1, 0.9, 50.0), (2, 0.4, 80.0), (3, 0.6, 70.0)):
            log.log(metric_line("teach", step, "eval", loss=loss, top1=top1))
    best: dict[str, Any] = {}
    for record in kinds(tmp_path, "summary"):
        best |= plain(record.update)
    assert (best["teach/eval/top1"], best["teach/eval/loss"]) == ({"max": 80}, {"min": 0.4})


def test_an_alert_reaches_wandb(tmp_path: Path) -> None:
    with pytest.raises(RunError), start(tmp_path) as log:
        log.log(metric_line("teach", 1, loss=float("inf")))
    (alert,) = kinds(tmp_path, "alert")
    assert (alert.title, alert.level) == ("quickstart-0123 stopped", "ERROR")
    assert alert.text.startswith("stage teach, step 1: loss is inf")


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
    table_artifact = next(artifact for artifact in kinds(offline_run, "artifact") if artifact.type == "run_table")
    images = [entry for entry in table_artifact.manifest.contents if entry.path.endswith(".png")]
    assert len(images) == 6
    assert all(Path(entry.local_path).is_relative_to(offline_run) for entry in images)


def test_an_offline_run_holds_the_exported_model_as_an_artifact(offline_run: Path) -> None:
    (artifact,) = [artifact for artifact in kinds(offline_run, "artifact") if artifact.type == "model"]
    assert artifact.name == "quick-start-student"
    assert json.loads(artifact.metadata) == {
        "name": "quick start/student",
        "digest": "ab12",
        "made_from": {"teacher-ResNet18": "cd34"},
        "top1": 96.33,
    }
    assert [(entry.path, entry.local_path) for entry in artifact.manifest.contents] == [
        ("model.onnx", str(offline_run / "model.onnx"))
    ]


def test_a_name_in_any_language_and_of_any_length_is_an_artifact_of_its_own() -> None:
    import wandb

    names = [
        "手写-student",
        "写手-student",
        "手写",
        "étude",
        "a b",
        "x" * 128,
        "x" * 129,
        "x" * 130,
        "手" * 200,
        "\udcff",
    ]
    taken = [wandb.Artifact(artifact_name(name), "model").name for name in names]
    assert len(set(taken)) == len(names)
    assert taken[0].startswith("student-")
    assert taken[4:6] == ["a-b", "x" * 128]


def test_wandb_keeps_out_of_the_users_folders_and_of_the_machine(offline_run: Path) -> None:
    assert not list(offline_run.glob("wandb/**/code/*"))
    assert not list(offline_run.glob("wandb/**/wandb-metadata.json"))
    assert (offline_run / "wandb" / "cache").is_dir()
    assert not kinds(offline_run, "environment")


def test_metrics_of_a_resumed_run_hold_every_step_once(offline_run: Path) -> None:
    assert logged_steps(offline_run, "distill") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert logged_steps(offline_run, "teach") == [1, 2, 3, 3]


def goes_on(log: track.Track, folder: Path, capsys: pytest.CaptureFixture[str], reason: str) -> None:
    """Check that the run logs on, and that there was one warning, of one line."""
    for step in range(1, 4):
        log.log(metric_line("distill", step))
    log.summary({"top1": 1.0})
    log.artifact(track.Artifact(name="m", kind="model", files=(folder / "metrics.jsonl",), digest="0"))
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
    log = start(tmp_path, about=track.About(name="n", run_id="not/an/id"))
    goes_on(log, tmp_path, capsys, "UsageError")


def test_a_run_that_is_to_be_sent_does_not_begin_where_nobody_is_logged_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with pytest.raises(
        RunError, match=r"^--wandb online: nobody is logged in to W&B here; `wandb login`, set WANDB_API"
    ):
        start(tmp_path, "online")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(RunError, match=r"^--wandb online: W&B is not installed; pip install wandb, or use --wandb off"):
        start(tmp_path, "online")


def test_a_run_goes_on_where_the_key_of_wandb_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "no key")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    goes_on(start(tmp_path, "online"), tmp_path, capsys, "WANDB_API_KEY")


def test_a_run_goes_on_when_wandb_ends_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = start(tmp_path)
    log.begin()
    (logger,) = log.loggers
    assert isinstance(logger, Wandb)
    logger.run.finish()
    goes_on(log, tmp_path, capsys, "finished")


def test_a_run_goes_on_when_the_process_of_wandb_is_killed(tmp_path: Path) -> None:
    script = """
import os, signal, sys, time
from contextlib import suppress
from pathlib import Path
from ssld import track
log = track.start(Path(sys.argv[1]), track.About(name="n", run_id="0123"), track.Options())
log.log({"kind": "train", "stage": "distill", "step": 1, "loss": 1.0})
children = []
for stat in Path("/proc").glob("[0-9]*/stat"):
    with suppress(OSError):  # this process has ended since
        if stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
            children.append(int(stat.parent.name))
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
    # The run has a process of its own.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert logged_steps(tmp_path, "distill") == list(range(1, 12))
    assert done.stderr.startswith("warning: W&B: ")
    assert done.stderr.count("\n") == 1


class Server:
    """A stand-in for an online W&B run; it keeps what it was asked for, in order."""

    starting_step = 3  # the server has steps 0 to 2

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def log(self, values: dict[str, Any], step: int) -> None:
        self.asked.append(("log", step))

    def define_metric(self, *args: Any, **options: Any) -> None:
        pass

    def use_artifact(self, artifact: Any) -> None:
        self.asked.append(("use", artifact))

    def log_artifact(self, artifact: Any) -> None:
        self.asked.append(("made", artifact))

    def finish(self, exit_code: int = 0) -> None:
        self.asked.append(("finish", exit_code))


@pytest.fixture
def online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[track.Track, Server, dict[str, Any]]:
    """Return a run that logged five lines and was begun again online, its server, and the options of `wandb.init`."""
    import wandb

    with start(tmp_path, "disabled") as log:
        for step in range(1, 6):
            log.log(metric_line("teach", step))
    server, init_options = Server(), {}

    def init(**options: Any) -> Server:
        init_options.update(options)
        return server

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    return start(tmp_path, "online"), server, init_options


def test_a_run_resumes_online_where_the_copy_of_the_server_ends(
    online: tuple[track.Track, Server, dict[str, Any]],
) -> None:
    log, server, init_options = online
    log.rewind("teach", 4)
    log.log(metric_line("teach", 5))
    assert (init_options["resume"], init_options["mode"], init_options["id"]) == ("allow", "online", "0123")
    assert server.asked == [("log", 3), ("log", 4), ("log", 5)]


def test_online_the_inputs_of_a_run_are_used_and_its_outputs_logged(
    online: tuple[track.Track, Server, dict[str, Any]], tmp_path: Path
) -> None:
    log, server, _ = online
    (tmp_path / "teacher.pdparams").write_bytes(b"large")
    teacher = track.Artifact(
        name="teacher-ResNet18",
        kind="model",
        files=(tmp_path / "teacher.pdparams",),
        digest="cd34",
        used=True,
        copied=False,
    )
    log.artifact(teacher)
    log.artifact(
        track.Artifact(
            name="student", kind="model", files=(tmp_path / "metrics.jsonl",), digest="ab", made_from={"t": "cd34"}
        )
    )
    (used, first), (made, second) = server.asked[-2:]
    assert (used, first.name, first.type, first.metadata["digest"]) == ("use", "teacher-ResNet18", "model", "cd34")
    (entry,) = first.manifest.entries.values()
    # The artifact says only where the file lies, so nothing is uploaded.
    assert entry.ref == (tmp_path / "teacher.pdparams").as_uri()
    assert (made, second.name, second.metadata["made_from"]) == ("made", "student", {"t": "cd34"})
    assert second.manifest.entries["metrics.jsonl"].ref is None
