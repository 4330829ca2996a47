"""Finished stages are used again only where all that made them is the same; one line says what is not."""

import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.numpy import load_file, save_file

import ssld
from ssld import run as run_module
from ssld.config import fresh
from ssld.data import fake, from_samples
from ssld.distill import reuse, space
from ssld.distill.reuse import (
    MADE_OF,
    KnownParts,
    begin_anew,
    changes,
    is_current,
    made_of,
    source_digest,
    to_train,
    trust_now,
)
from ssld.distill.runs import Run
from ssld.distill.teachers import Teachers
from ssld.errors import RunError, WeightsError
from ssld.files import sha256
from ssld.losses.registry import find
from ssld.paths import shelf
from ssld.plans import load_plan
from ssld.publish import start_track
from ssld.run import finished, opened, run_plan, stage_result
from tests.campaign.damage import WAYS, damage
from tests.unit import foreign_files
from tests.unit.own_code.images import Train as OwnImages
from tests.unit.own_recipe import write_code
from tests.unit.some_recipe import changed, written
from tests.unit.tiny_run import HERE, QUIET, STAGE

TREE = {
    "classes": 4,
    "code": ["losses.py"],
    "student": {"code": "nets.py:Tiny"},
    "teachers": {"big": {"code": "nets.py:Large", "stage": "teach"}},
    "stage": STAGE,
    "stages": {
        "teach": {"network": "big", "loss": {"ce": {}}},
        "plain": {"loss": {"labelled": {}}, "data": {"train": ["d/more.txt"]}},
        "distill": {"loss": {"kl": {}}},
        "tune": {"init": "distill", "loss": {"ce": {}}},
    },
    "export": {"formats": ["paddle"], "gate_images": 8},
    "bench": {"engines": ["paddle"], "repeats": 1, "warmup": 1},
}  # fmt: skip
STAGES = tuple(TREE["stages"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the user's files, images, and the finished run `runs/first`."""
    whole = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(whole)
        patch.setenv("SSLD_DATA", "data")
        write_code(whole)
        fake(Path("data/d"), 4, train=24, val=8, unlabelled=8, size=20)
        shutil.copyfile("data/d/train_labelled.txt", "data/d/more.txt")
        written(whole, TREE)
        run_plan(load_plan("some.yaml", []), Path("runs/first"), HERE, QUIET)
    return whole


@pytest.fixture
def place(whole, tmp_path, monkeypatch):
    """A copy of it, in which the test works."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSLD_DATA", "data")
    return tmp_path


def run_of(folder="runs/first", tree=None):
    if tree:
        written(Path(), tree)
    return Run.of_plan(load_plan("some.yaml", []), Path(folder), HERE)


def train(run, trust="equal"):
    """The stages of a run, finished. Returns those that were trained, by the lines that say what they logged."""
    before = {name: stamp(stage) for name, stage in run.stages.items()}
    with opened(run), start_track(run, QUIET) as log:
        trust = trust_now(run, trust)
        if trust == "none":
            begin_anew(run)
        teachers, known = Teachers(run), KnownParts()
        to_train(run, trust, known)  # as `run_plan` does, so that what is known before a stage is trained is in `known`
        for stage in run.stages.values():
            stage_result(stage, teachers, log, trust, known)
    return [name for name, stage in run.stages.items() if stamp(stage) != before[name]]


def stamp(stage):
    return stage.model_file.stat().st_mtime_ns if stage.is_done and stage.model_file.is_file() else None


def lines(capsys):
    """The lines on standard error that are not those of progress and device."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("stage ")]


def cut(file, keep=16):
    """Cut a list in place."""
    path = Path("data/d") / file
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:keep]))


def test_nothing_is_trained_again_where_nothing_changed_and_a_finished_run_says_so_at_once(place, capsys):
    assert train(run_of()) == []
    assert lines(capsys) == []
    start = time.monotonic()
    result = run_plan(run_of().plan, Path("runs/first"), HERE, QUIET)
    assert time.monotonic() - start < 2
    assert capsys.readouterr().err == "runs/first: already finished\n"
    assert result["top1"] == run_of().last.record()["top1"]


def test_a_list_that_was_cut_in_place_trains_its_stages_anew_and_what_depends_on_them(place, capsys):
    kept = {name: stage.model_file.read_bytes() for name, stage in run_of().stages.items()}
    cut("train_labelled.txt")
    assert train(run_of()) == ["teach", "distill", "tune"]
    assert lines(capsys) == [
        f"stage {name}: images d/train_labelled.txt changed; it is trained anew"
        for name in ("teach", "distill", "tune")
    ]
    for name in ("teach", "distill", "tune"):
        folder = run_of().stage(name).folder
        old = folder.parent / "replaced" / f"{folder.name}-1"
        assert (old / "model.safetensors").read_bytes() == kept[name]
        assert run_of().stage(name).model_file.read_bytes() != kept[name]
    cut("train_labelled.txt", keep=8)
    train(run_of())
    names = sorted(path.name[-2:] for path in Path("runs/first/stages/replaced").glob("teach-*"))
    assert names == ["-1", "-2"]


def test_a_changed_list_of_an_early_stage_reaches_the_stages_behind_it_by_their_weights(place, capsys):
    tree = changed(TREE, "stages.teach.data.train", ["d/more.txt"])
    train(run_of("runs/other", tree))
    capsys.readouterr()
    cut("more.txt")
    assert train(run_of("runs/other")) == ["teach", "plain", "distill", "tune"]
    said = lines(capsys)
    assert said[0] == "stage teach: images d/more.txt changed; it is trained anew"
    assert said[2] == "stage distill: teacher big: weights of stage teach changed; it is trained anew"
    assert said[3] == "stage tune: weights of stage distill changed; it is trained anew"


def test_a_built_in_loss_whose_source_changed_trains_its_stages_anew(place, capsys, monkeypatch):
    kl, value = find("kl"), find("kl").__call__
    monkeypatch.setattr(reuse, "source_digest", lambda cls: "f" * 64 if cls is kl else source_digest(cls))
    assert train(run_of()) == ["distill"]  # which ends with the same weights
    assert lines(capsys) == ["stage distill: loss kl changed; it is trained anew"]
    monkeypatch.setattr(reuse, "source_digest", lambda cls: "e" * 64 if cls is kl else source_digest(cls))
    monkeypatch.setattr(kl, "__call__", lambda *given: 0 * value(*given))
    assert train(run_of()) == ["distill", "tune"]
    assert lines(capsys) == [
        "stage distill: loss kl changed; it is trained anew",
        "stage tune: weights of stage distill changed; it is trained anew",
    ]


def test_the_source_of_a_loss_is_that_of_its_file_and_of_what_it_imports_with_values(tmp_path, monkeypatch):
    digests = {name: source_digest(find(name)) for name in ("kl", "ssld", "ce", "hint", "crd", "mgd")}
    assert len(set(digests.values())) == len(digests)
    shutil.copytree(Path(ssld.__file__).parent, tmp_path / "ssld", ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    monkeypatch.setattr(ssld, "__file__", str(tmp_path / "ssld" / "__init__.py"))

    def changed_by(file):
        """The losses whose source is another one after a change of a file."""
        with (tmp_path / "ssld" / file).open("a", encoding="utf-8") as stream:
            stream.write("CHANGED = True\n")
        before = digests.copy()
        digests.update({name: source_digest(find(name)) for name in digests})
        return [name for name in digests if digests[name] != before[name]]

    assert changed_by("losses/logit/kl.py") == ["kl"]
    assert changed_by("losses/layers/mgd.py") == ["mgd"]
    assert changed_by("random.py") == ["crd", "mgd"]  # the losses that draw numbers
    assert changed_by("errors.py") == changed_by("runtime.py") == changed_by("models/base.py") == []


def test_a_changed_file_of_own_code_makes_other_stages_where_it_is_used_and_no_others(place, capsys):
    first = run_of()
    text = Path("losses.py").read_text()
    Path("losses.py").write_text(text.replace('reduction="none")', 'reduction="none") * 0'))
    other = run_of("runs/second")
    differ = [name for name in STAGES if other.stage(name).digest != first.stage(name).digest]
    assert differ == ["plain"]
    assert other.plan.digest != first.plan.digest
    with pytest.raises(RunError, match="holds the run of another recipe"), opened(run_of("runs/first")):
        pass
    train(other)
    assert stamp(other.stage("plain")) != stamp(first.stage("plain"))
    said = capsys.readouterr().err
    assert [name for name in STAGES if f"{name}: taken over from first" in said] == ["teach", "distill", "tune"]


def test_another_version_of_a_package_trains_the_stages_anew(place, capsys, monkeypatch):
    known = reuse.versions()
    monkeypatch.setattr(reuse, "versions", lambda: {**known, "paddlepaddle": "0.0.1"})
    assert train(run_of()) == list(STAGES)
    assert lines(capsys)[0] == "stage teach: version of paddlepaddle changed; it is trained anew"


def test_replaced_weights_of_a_teacher_train_the_stages_that_asked_it_anew(place, capsys):
    shutil.copyfile(run_of().stage("teach").model_file, "big.safetensors")
    look = {"size": 16, "mean": [0.5] * 3, "std": [0.25] * 3}
    teacher = {"code": "nets.py:Large", "weights": "big.safetensors", "input": look, "gate": 0}
    tree = {**TREE, "teachers": {"big": teacher}, "stages": {**TREE["stages"]}}
    del tree["stages"]["teach"]
    train(run_of("runs/file", tree))
    assert train(run_of("runs/file")) == []
    arrays = load_file("big.safetensors")
    save_file({key: value * 1.5 for key, value in arrays.items()}, "big.safetensors")
    capsys.readouterr()
    assert train(run_of("runs/file")) == ["distill", "tune"]
    assert lines(capsys)[0] == "stage distill: teacher big: weights changed; it is trained anew"


def test_a_card_whose_input_changed_trains_the_stages_that_asked_its_teacher_anew(place):
    card = Path("mine.yaml")
    text = (shelf("teachers") / "ResNet50_vd_ssld.yaml").read_text()
    card.write_text(text)
    tree = changed(TREE, "teachers.published", {"card": "mine.yaml", "gate": 0})
    written(place, changed(tree, "stages.distill.teachers", ["published"]))
    distill = Run.of_plan(load_plan("some.yaml", [], smoke=True), Path("runs/carded"), HERE).stage("distill")
    fake(distill.run.data_root / "fake", 4, train=16, val=8, unlabelled=8, size=20)
    before = made_of(distill)
    card.write_text(text.replace("top1: 83.0", "top1: 82.0"))
    assert made_of(distill) == before
    card.write_text(text.replace("mean: [0.485,", "mean: [0.5,"))
    assert changes(before, made_of(distill)) == "teacher published: card changed"


def test_reuse_insists_on_results_that_something_else_made_and_says_so(place, capsys):
    cut("train_labelled.txt")
    assert train(run_of(), "any") == []
    assert lines(capsys) == [
        f"stage {name}: images d/train_labelled.txt changed; its result is used all the same (--reuse)"
        for name in ("teach", "distill", "tune")
    ]
    run_plan(run_of().plan, Path("runs/first"), HERE, QUIET, "any")
    assert capsys.readouterr().err == "runs/first: already finished\n"


def test_fresh_trains_every_stage_anew_and_ends_with_the_same_weights(place, capsys):
    kept = {name: stage.model_file.read_bytes() for name, stage in run_of().stages.items()}
    shutil.copytree("runs/first", "runs/beside")
    assert train(run_of(), "none") == list(STAGES)
    assert lines(capsys) == [f"stage {name}: --fresh was given; it is trained anew" for name in STAGES]
    for name, stage in run_of().stages.items():
        assert stage.model_file.read_bytes() == kept[name]


def test_a_fresh_run_that_was_stopped_is_resumed_by_the_same_command_and_then_ends_being_fresh(
    place, capsys, monkeypatch
):
    shutil.copytree("runs/first", "runs/beside")
    real, begun = run_module.stage_result, []

    def stops_at_the_third(stage, *more):
        begun.append(stage.name)
        if len(begun) == 3:
            raise KeyboardInterrupt
        return real(stage, *more)

    monkeypatch.setattr(run_module, "stage_result", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        run_plan(run_of().plan, Path("runs/first"), HERE, QUIET, "none")
    monkeypatch.setattr(run_module, "stage_result", real)
    run = run_of()
    assert [name for name in STAGES if run.stage(name).is_done] == ["teach", "plain"]
    kept = stamp(run.stage("teach")), stamp(run.stage("plain"))
    assert "distill" in [stage.name for stage in to_train(run, "equal", KnownParts())]
    capsys.readouterr()
    run_plan(run.plan, Path("runs/first"), HERE, QUIET, "none")
    said = capsys.readouterr().err
    assert (stamp(run.stage("teach")), stamp(run.stage("plain"))) == kept
    assert "taken over" not in said  # from beside
    assert "trained anew" not in said
    run_plan(run.plan, Path("runs/first"), HERE, QUIET)
    assert capsys.readouterr().err == "runs/first: already finished\n"
    assert trust_now(run, "equal") == "equal"
    assert trust_now(run, "none") == "none"  # finished, it begins anew


def test_seeds_that_begin_anew_are_asked_for_it_together_and_resumed_together(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    fresh.ask(folders)
    assert [fresh.state(folder) for folder in folders] == ["asked"] * 3
    fresh.begin(folders[0])
    fresh.end(folders[0])
    fresh.begin(folders[1])
    fresh.ask(folders)  # stopped in the second, and repeated
    assert [fresh.state(folder) for folder in folders] == [None, "begun", "asked"]


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_note_that_a_run_is_fresh_is_named(way, tmp_path):
    fresh.ask([tmp_path])
    file = tmp_path / "fresh"
    if damage(file, way) and way != "deleted":
        with pytest.raises(RunError, match=r"/fresh: .*; remove it, and repeat the command, with --fresh"):
            fresh.state(tmp_path)
        file.rmdir() if file.is_dir() else file.unlink()
        assert fresh.state(tmp_path) is None


@pytest.mark.parametrize("trust", ["equal", "any"])
def test_damaged_weights_are_noticed_whatever_is_trusted(trust, place, capsys):
    file = run_of().stage("distill").model_file
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert finished(run_of(), trust, KnownParts()) is None
    assert train(run_of(), trust) == ["distill"]
    again = "it is made again from its checkpoint of step 3"
    assert lines(capsys) == [f"stage distill: model.safetensors is damaged (sha256); {again}"]
    assert file.read_bytes() == kept
    file.unlink()
    shutil.rmtree(file.parent / "checkpoint-00000003")
    assert finished(run_of(), trust, KnownParts()) is None
    assert train(run_of(), trust) == ["distill"]
    assert lines(capsys) == ["stage distill: model.safetensors is missing; it is trained anew"]
    assert file.read_bytes() == kept


def test_a_run_of_an_earlier_version_is_told_in_a_line_and_trained_anew_or_used_with_reuse(place, capsys):
    for folder in Path("runs/first/stages").iterdir():
        (folder / MADE_OF).unlink()
        record = json.loads((folder / "stage.json").read_text())
        early = {key: value for key, value in record.items() if key not in ("made_of", "curve", "checksum")}
        (folder / "stage.json").write_text(json.dumps(early))
    shutil.copytree("runs/first", "runs/old")
    reason = "it was made by an earlier version, which kept no record of what made it"
    assert train(run_of("runs/old"), "any") == []
    assert lines(capsys)[0] == f"stage teach: {reason}; its result is used all the same (--reuse)"
    assert train(run_of("runs/old")) == list(STAGES)
    assert lines(capsys)[0] == f"stage teach: {reason}; it is trained anew"


def test_a_stage_of_a_run_beside_is_taken_over_only_where_the_same_made_it(place, capsys):
    assert train(run_of("runs/second")) == list(STAGES)  # their files are new here
    said = capsys.readouterr().err
    assert [name for name in STAGES if f"{name}: taken over from first" in said] == list(STAGES)
    assert "plain: " not in said.replace("plain: taken", "")
    curves = [Path(f"runs/{run}/metrics.jsonl").read_text() for run in ("first", "second")]
    assert curves[0] == curves[1] != ""
    assert train(run_of("runs/second")) == []
    assert Path("runs/second/metrics.jsonl").read_text() == curves[1]
    cut("more.txt")
    train(run_of("runs/third"))
    said = capsys.readouterr().err
    assert "plain: not taken over from first: images d/more.txt changed" in said
    assert "teach: taken over from first" in said
    file = run_of("runs/second").stage("teach").model_file
    shutil.rmtree("runs/first")
    shutil.rmtree("runs/third")
    file.write_bytes(file.read_bytes()[:-1])
    train(run_of("runs/fourth"))
    assert "teach: not taken over from second: model.safetensors is damaged (sha256)" in capsys.readouterr().err


def test_a_teacher_that_is_taken_over_for_its_labels_brings_its_curve_along(place, monkeypatch, capsys):
    monkeypatch.setenv("SSLD_LABELS", "labels")
    tree = changed(changed(TREE, "stages.distill.labels", {"views": 1, "k": 4}), "teachers.big.norm", "running")
    run = run_of("runs/labels", tree)
    (row,) = run_module.label(run.plan, run.folder, HERE, 0, QUIET)
    assert (row["stage"], row["labels"]) == ("distill", 24)
    assert "teach: taken over from first" in capsys.readouterr().err
    curves = [Path(f"runs/{name}/metrics.jsonl").read_text().splitlines() for name in ("first", "labels")]
    assert curves[1] == [line for line in curves[0] if '"stage": "teach"' in line] != []


def begun(run, name):
    """A stage as a kill leaves it: with a checkpoint, and without its result."""
    folder = run.stage(name).folder
    (folder / "stage.json").unlink()
    (folder / "model.safetensors").unlink()
    assert any(folder.glob("checkpoint-*"))
    return folder


def test_a_training_that_began_with_other_images_does_not_go_on_and_the_advice_works(place, capsys):
    folder = begun(run_of(), "plain")
    kept = Path("data/d/more.txt").read_text()
    cut("more.txt")
    with pytest.raises(RunError) as caught:
        train(run_of())
    assert str(caught.value) == (
        "stage plain: images d/more.txt changed, and its training had begun; put it back, go on all the same with "
        f"--reuse, or remove {folder} to train it anew"
    )
    Path("data/d/more.txt").write_text(kept)
    assert train(run_of()) == ["plain"]
    assert lines(capsys) == []
    folder = begun(run_of(), "plain")
    cut("more.txt")
    assert train(run_of(), "any") == ["plain"]
    assert "since its training began; it goes on all the same (--reuse)" in lines(capsys)[0]
    cut("more.txt", keep=8)
    begun(run_of(), "plain")
    shutil.rmtree(folder)
    assert train(run_of()) == ["plain"]


def test_a_training_that_began_behind_a_stage_that_is_trained_anew_begins_anew(place, capsys):
    begun(run_of(), "distill")
    cut("train_labelled.txt")
    assert train(run_of()) == ["teach", "distill", "tune"]
    said = "stage distill: teacher big: weights of stage teach changed; it is trained anew"
    assert said in lines(capsys)


def test_what_is_not_there_any_more_leaves_a_finished_run_finished(place, capsys):
    shutil.rmtree("data")
    run_plan(run_of().plan, Path("runs/first"), HERE, QUIET)
    *said, last = capsys.readouterr().err.splitlines()
    assert last == "runs/first: already finished"
    assert [line.partition(":")[0] for line in said] == [f"stage {name}" for name in STAGES]
    assert all("what made it cannot be looked at" in line for line in said)


def test_a_run_for_which_a_disk_has_no_room_does_not_begin(place, monkeypatch):
    run, sizes = run_of("other/run"), {}
    for name in ("student", "big"):
        values = load_file(run_of().stage("plain" if name == "student" else "teach").model_file).values()
        sizes[name] = sum(array.nbytes for array in values)

    def free(number):
        usage = SimpleNamespace(total=10**12, free=number)
        monkeypatch.setattr(space.shutil, "disk_usage", lambda folder: usage)

    stages = list(run.stages.values())
    slots = sum(
        array.nbytes for array in load_file(last_checkpoint(run_of().stage("teach")) / "optimizer.safetensors").values()
    )
    one = space.stage_bytes(run.stage("teach"), *space._size(run.plan, "big"))
    assert one == 3 * (sizes["big"] + slots) + sizes["big"]
    needed = sum(space.stage_bytes(stage, *space._size(run.plan, stage.settings.network)) for stage in stages)
    free(needed)
    space.check_space(run, stages)
    free(needed - 1)
    said = r"^other/run: 0 MB free, and checkpoints and results take 0 MB; free some space, or choose another --out$"
    with pytest.raises(RunError, match=said):
        space.check_space(run, stages)
    free(0)
    space.check_space(run, [])
    with pytest.raises(RunError, match=r"^other/run: 0 MB free"):
        run_plan(run.plan, Path("other/run"), HERE, QUIET)
    beside = run_of("runs/second")
    free(sum(sizes["big" if stage.name == "teach" else "student"] for stage in stages))
    space.check_space(beside, list(beside.stages.values()))  # they are taken over from beside


def test_a_label_cache_for_which_a_disk_has_no_room_is_told_before_the_training(place, monkeypatch):
    tree = changed(changed(TREE, "stages.distill.labels", {"views": 1000, "k": 4}), "teachers.big.norm", "running")
    run = run_of("other/run", tree)
    monkeypatch.setenv("SSLD_LABELS", str(place / "kept"))
    folder, size = place / "kept", 1000 * 24 * 2 * 5  # of 24 images float16 of four classes and of the largest
    assert space._caches([run.stage("distill"), run.stage("plain")]) == {folder: size}
    (folder / "some").mkdir(parents=True)
    (folder / "some" / "shard").write_bytes(b"1234")
    assert space._caches([run.stage("distill")]) == {folder: size - 4}


def last_checkpoint(stage):
    return max(stage.folder.glob("checkpoint-*"))


def of_file(teacher):
    """The recipe whose only stage learns from a teacher of that file."""
    stages = {"distill": {"loss": {"kl": {}, "ce": {}}}}
    return {**TREE, "classes": foreign_files.CLASSES, "teachers": {"t": {"gate": 0, **teacher}}, "stages": stages}


LOOK = {"size": foreign_files.SIZE, "mean": [0.5] * 3, "std": [0.25] * 3}


def test_weights_beside_an_onnx_file_and_those_of_a_program_are_looked_at(place, capsys):
    fake(Path("data/d"), foreign_files.CLASSES, train=16, val=10, unlabelled=0, size=20)
    foreign_files.write_external(Path("m.onnx"))
    shutil.copytree("runs/first/export", "program")
    tree = of_file({"onnx": "m.onnx", "input": LOOK, "gives": "logits"})
    assert train(run_of("runs/onnx", tree)) == ["distill"]
    assert train(run_of("runs/onnx")) == []
    swap_byte(Path("m.onnx.data"))
    capsys.readouterr()
    assert train(run_of("runs/onnx")) == ["distill"]
    assert lines(capsys) == ["stage distill: teacher t: onnx changed; it is trained anew"]
    program = {"program": "program/model.json", "input": {**LOOK, "size": 16}, "gives": "logits"}
    last = run_of("runs/program", of_file(program)).last
    parts = made_of(last)
    (Path("program") / "contract.json").unlink()  # no part of the program
    assert made_of(last) == parts
    swap_byte(Path("program/model.pdiparams"))
    assert changes(parts, made_of(last)) == "teacher t: program changed"


def swap_byte(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_a_run_that_taught_counts_by_its_weights_and_not_by_what_its_result_says_beside_them(place, capsys):
    tree = {**TREE, "teachers": {"t": {"run": "runs/first", "gate": 0}}, "stages": {"distill": {"loss": {"kl": {}}}}}
    train(run_of("runs/second", tree))
    file = Path("runs/first/result.json")
    file.write_text(file.read_text().replace('"wall_seconds"', '"seconds"'))
    assert train(run_of("runs/second")) == []
    shutil.rmtree("runs/first")
    assert is_current(run_of("runs/second").last, "equal", KnownParts())
    assert "what made it cannot be looked at: runs/first: no run here" in capsys.readouterr().err


def test_images_of_own_code_count_by_what_they_are(place):
    stage = {"loss": {"ce": {}}, "data": {"train": ["images.py:Train"]}}
    tree = {**TREE, "teachers": {}, "stages": {"plain": stage}}
    parts = made_of(run_of("runs/own", tree).last)
    assert parts["images images.py:Train"] == from_samples(OwnImages(), classes=4).digest()
    assert parts["validation images d/val.txt"] == sha256(Path("data/d/val.txt"))


def test_the_stages_that_are_to_be_trained_are_known_before_the_first_step(place):
    def names(trust="equal"):
        return [stage.name for stage in to_train(run_of(), trust, KnownParts())]

    assert names() == names("any") == []
    assert names("none") == list(STAGES)
    cut("more.txt")
    assert (names(), names("any")) == (["plain"], [])
    begun(run_of(), "teach")
    assert names() == list(STAGES)
    assert names("any") == ["teach", "distill", "tune"]


def test_lists_and_weights_are_hashed_once_at_the_start_of_a_run(place, monkeypatch):
    run, known, hashed = run_of(), KnownParts(), []
    begun(run, "tune")
    original = reuse.content_of
    monkeypatch.setattr(reuse, "content_of", lambda run, name: hashed.append(name) or original(run, name))
    left = to_train(run, "equal", known)
    reuse.check_begun(left, "equal", known)
    for stage in run.stages.values():
        reuse.take_over(stage, "equal", known)
    lists = [stage.settings.data for stage in run.stages.values()]
    assert sorted(hashed) == sorted(name for data in lists for name in (*data.train, data.val))


def test_what_changes_while_a_stage_is_trained_is_noticed_by_the_stages_after_it(place):
    run, known = run_of(), KnownParts()
    begun(run, "plain")
    assert [stage.name for stage in to_train(run, "equal", known)] == ["plain"]
    reuse.take_over(run.stage("plain"), "equal", known)  # it is trained now
    cut("train_labelled.txt")
    reuse.take_over(run.stage("distill"), "equal", known)
    assert not run.stage("distill").is_done


def test_a_teacher_is_checked_before_the_first_step_where_a_finished_stage_is_to_be_trained_anew(place, capsys):
    look = {"size": 16, "mean": [0.5] * 3, "std": [0.25] * 3}
    shutil.copyfile(run_of().stage("teach").model_file, "big.safetensors")
    teacher = {"code": "nets.py:Large", "weights": "big.safetensors", "input": look, "gate": 0}
    stages = {"plain": TREE["stages"]["plain"], "distill": TREE["stages"]["distill"]}
    run = run_of("runs/file", {**TREE, "teachers": {"big": teacher}, "stages": stages})
    train(run)
    cut("more.txt")
    shutil.copyfile(run.stage("plain").model_file, "big.safetensors")  # weights of another network
    with pytest.raises(WeightsError):
        run_plan(run_of("runs/file").plan, Path("runs/file"), HERE, QUIET)
    assert "it is trained anew" not in capsys.readouterr().err


def test_a_training_that_cannot_go_on_is_told_before_an_earlier_stage_is_trained_anew(place, capsys):
    begun(run_of(), "plain")
    cut("more.txt")
    cut("train_labelled.txt")
    kept = run_of().stage("teach").model_file.read_bytes()
    with pytest.raises(RunError, match=r"^stage plain: images d/more.txt changed, and its training had begun"):
        run_plan(run_of().plan, Path("runs/first"), HERE, QUIET)
    assert run_of().stage("teach").model_file.read_bytes() == kept
    assert "it is trained anew" not in capsys.readouterr().err
