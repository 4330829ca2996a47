"""What trackers are told of a finished run: the line from its teacher to its exported files."""

from pathlib import Path
from typing import Any

import pytest

from ssld import publish
from ssld.config import recipe
from ssld.config.recipe import Plan
from ssld.distill.runs import Run
from ssld.files import sha256
from ssld.runtime import Runtime
from ssld.track import About, Artifact, Logger, Options, Track
from tests.unit.fake_run import make_result
from tests.unit.some_recipe import TREE, changed, written

CARD = {**TREE, "teacher": {"card": "ResNet50_vd_ssld", "norm": "running"}}
CARD = {**CARD, "stages": {name: stage for name, stage in TREE["stages"].items() if name != "teach"}}
STUDENT = "some-student-MobileNetV3_small_x0_35"


def run_of(plan: Plan, folder: Path) -> Run:
    return Run.of_plan(plan, folder, Runtime(rank=0, world=1, gpu=None))


def finished(folder: Path, tree: dict[str, Any], **labels: str) -> tuple[Plan, dict[str, Any]]:
    """A plan and the result of its run, whose weights and export lie in the folder; `labels`: stage -> cache."""
    plan = recipe.load(written(folder, tree))
    for name in plan.stages:
        stage = run_of(plan, folder).stage(name)
        stage.folder.mkdir(parents=True)
        stage.model_file.write_bytes(name.encode())
    (folder / "export").mkdir()
    (folder / "export" / "model.onnx").write_bytes(b"graph")
    stages = {name: {"labels": labels[name]} if name in labels else {} for name in plan.stages}
    return plan, make_result() | {"stages": stages}


class Listener(Logger):
    """In the place of W&B: keeps the artifacts that it is told of."""

    def __init__(self) -> None:
        self.items: list[Artifact] = []

    def named(self, about: About) -> "Listener":
        self.about = about
        return self

    def artifact(self, item: Artifact) -> None:
        self.items.append(item)

    def summary(self, values: dict[str, Any]) -> None:
        self.values = values


def line(folder: Path, plan: Plan, result: dict[str, Any]) -> dict[str, Artifact]:
    return {item.name: item for item in publish.lineage(run_of(plan, folder), result)}


def test_a_teacher_that_the_run_trained_leads_to_its_student_and_that_one_to_the_export(tmp_path: Path) -> None:
    plan, result = finished(tmp_path, TREE)
    found = line(tmp_path, plan, result)
    teacher, student, export = found.values()
    assert (teacher.name, teacher.used) == ("some-teacher-ResNet18", False)
    assert teacher.files == (run_of(plan, tmp_path).stage("teach").model_file,)
    assert (student.name, student.digest) == (STUDENT, plan.stage_digest("finetune"))
    assert student.made_from == {"some-teacher-ResNet18": plan.stage_digest("teach")}
    assert (export.name, export.made_from) == ("some-MobileNetV3_small_x0_35", {STUDENT: student.digest})
    assert export.files == (tmp_path / "export" / "model.onnx",)


def test_a_teacher_of_a_card_and_the_label_cache_are_inputs_that_stay_where_they_lie(tmp_path: Path) -> None:
    (tmp_path / "teacher.pdparams").write_bytes(b"weights")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "manifest.json").write_text("{}")
    tree = changed(CARD, "teacher.weights", str(tmp_path / "teacher.pdparams"))
    tree = changed(tree, "stages.distill.labels", {"folder": str(cache)})
    plan, result = finished(tmp_path, tree, distill="cache")
    teacher, labels, student, _ = line(tmp_path, plan, result).values()
    digest = sha256(tmp_path / "teacher.pdparams")
    assert (teacher.name, teacher.digest, teacher.used, teacher.copied) == (
        "teacher-ResNet50_vd_ssld", digest, True, False
    )  # fmt: skip
    assert (labels.name, labels.kind, labels.used) == ("labels-cache", "dataset", True)
    assert (labels.files, labels.made_from) == ((cache / "manifest.json",), {teacher.name: digest})
    assert student.made_from == {teacher.name: digest, labels.name: sha256(cache / "manifest.json")}


@pytest.mark.parametrize("reason", [None, "the recipe names none"])
def test_the_summary_says_in_words_why_there_is_no_gain(reason: str | None, tmp_path: Path) -> None:
    plan, _ = finished(tmp_path, TREE)
    whole = make_result(baseline=91.17 if reason is None else None, baseline_missing=reason)
    listener = Listener()
    publish.publish(run_of(plan, tmp_path), whole | {"stages": dict.fromkeys(plan.stages, whole["stages"]["fix"])},
                    Track(None, [listener]))  # fmt: skip
    assert (listener.values["gain"] is None) == (reason is not None)
    assert listener.values.get("baseline_missing") == reason
    (student,) = [item for item in listener.items if item.name == STUDENT]
    assert student.metadata["baseline_missing"] == reason


def test_a_teacher_that_was_moved_away_since_is_left_out_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, result = finished(tmp_path, changed(CARD, "teacher.weights", str(tmp_path / "gone.pdparams")))
    assert list(line(tmp_path, plan, result)) == [STUDENT, "some-MobileNetV3_small_x0_35"]
    assert "the teacher is not among the artifacts of this run" in capsys.readouterr().err


def test_runs_of_all_seeds_are_one_group_and_an_override_is_another(tmp_path: Path) -> None:
    file = written(tmp_path, TREE)
    first, second, other = (publish.about(recipe.load(file, [word])) for word in ("seed=0", "seed=1", "classes=9"))
    assert first.group == second.group != other.group
    assert first.run_id != second.run_id
    assert first.tags == ("full", "MobileNetV3_small_x0_35", "ResNet18")


def test_labelling_is_a_run_of_its_own_from_the_teacher_to_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "teacher.pdparams").write_bytes(b"weights")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "manifest.json").write_text("{}")
    tree = changed(CARD, "teacher.weights", str(tmp_path / "teacher.pdparams"))
    plan, _ = finished(tmp_path, changed(tree, "stages.distill.labels", {"folder": str(tmp_path / "cache")}))
    listener = Listener()
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr("ssld.track.track.Wandb", lambda *arguments: listener.named(arguments[1]))
    publish.publish_labels(run_of(plan, tmp_path), {"distill": "cache"}, Options(wandb="online"))
    teacher, cache = listener.items
    assert (listener.about.job, listener.about.run_id) == ("label", f"labels-{plan.digest[:16]}")
    assert (teacher.name, teacher.used) == ("teacher-ResNet50_vd_ssld", True)
    assert (cache.name, cache.used, cache.made_from) == ("labels-cache", False, {teacher.name: teacher.digest})
    assert not (tmp_path / "metrics.jsonl").exists()
