"""A damaged file of a run is named with an advice that works, or made anew; it is never used in silence.

What is asked of each file is in READERS: what a command reads from it. A damage is harmless where that is what it was.
"""

import copy
import re
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from ssld import api
from ssld.commands.bench import bench
from ssld.commands.eval import eval_
from ssld.config import code, recipe
from ssld.config.run_folder import read_plan, read_result
from ssld.deploy import contract
from ssld.distill import checkpoint, reuse
from ssld.distill.reuse import KnownParts, check_begun, to_train
from ssld.distill.runs import Run
from ssld.distill.teachers import Teachers, chosen_engine
from ssld.errors import SsldError
from ssld.files import read_json, sha256, write_json
from ssld.plans import load_plan
from ssld.publish import start_track
from ssld.report import run_files, write_report
from ssld.run import finished, open_folder, opened, run_plan, stage_result
from tests.campaign.damage import WAYS, counterpart, damage, damaged_copies
from tests.unit.some_recipe import written
from tests.unit.tiny_run import HERE, QUIET, TREE, copy_place, plan_of

RUN = Path("runs/one")
STAGE = r"stages/teach-\w+/"
# file -> what the commands read of it, in a form that can be compared
READERS = {
    r"plan\.yaml": lambda folder: (recipe.of_run(folder).digest, read_plan(folder)),
    r"result\.json": lambda folder: read_result(folder),
    r"metrics\.jsonl": lambda folder: run_files.metrics(folder, RESULT),
    r"bench\.csv": lambda folder: run_files.bench(folder, RESULT),
    r"samples\.npz": lambda folder: {key: array.tolist() for key, array in run_files.samples(folder, RESULT).items()},
    r"code/\w+/nets\.py": lambda folder: recipe.of_run(folder).digest,
    STAGE + r"(stage\.json|model\.safetensors)": lambda folder: (teach(folder).record(), weights_of(folder)),
    STAGE + r"made_of\.json": lambda folder: reuse.changed(teach(folder), teach(folder).folder, PARTS),
    STAGE + r"checkpoint-\d+/\w+\.\w+": lambda folder: checkpoint_of(folder),
    r"(export|teacher_export)/\w+\.\w+": lambda folder: [export(folder, name) for name in ("export", "teacher_export")],
}
RESULT, PARTS = {}, {}


@pytest.fixture
def place(finished_place, tmp_path, monkeypatch):
    """A copy of the place with two finished runs, in which the test works."""
    copy_place(finished_place, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSLD_DATA", "data")
    monkeypatch.delenv("SSLD_LABELS", raising=False)
    RESULT.clear()
    RESULT.update(read_result(RUN))
    PARTS.clear()
    PARTS.update(read_json(teach(RUN).folder / "made_of.json", ""))
    return tmp_path


def stages(folder=RUN):
    return Run.of_plan(plan_of(), folder, HERE).stages


def teach(folder):
    return stages(folder)["teach"]


def weights_of(folder):
    return {key: array.tolist() for key, array in load_file(teach(folder).weights_file()).items()}


def checkpoint_of(folder):
    found = checkpoint.load(teach(folder).folder, teach(folder).digest)
    return found and {stem: {k: v.tolist() for k, v in arrays.items()} for stem, arrays in found.tensors.items()}


def export(folder, name):
    digest = plan_of().digest if name == "export" else teach(folder).digest
    found = contract.read_of(folder / name, digest)
    contract.check_files(folder / name, found, found["files"])
    return found


def run(folder=RUN):
    """`ssld run` in this folder."""
    return run_plan(plan_of(), folder, HERE, QUIET)


def train(folder=RUN, trust="equal"):
    """The stages of a run, as `ssld run` makes them, without what follows the training."""
    one, known = Run.of_plan(plan_of(), folder, HERE), KnownParts()
    with opened(one), start_track(one, QUIET) as log:
        check_begun(to_train(one, trust, known), trust, known)
        teachers = Teachers(one)
        for stage in one.stages.values():
            stage_result(stage, teachers, log, trust, known)


def bits(folder=RUN):
    """The sha256 of all trained weights."""
    return {name: sha256(stage.model_file) for name, stage in stages(folder).items()}


def state(folder=RUN):
    """The bits of all trained weights, and what the run says of the student."""
    result = read_result(folder)
    return bits(folder), {key: result[key] for key in ("digest", "top1", "nll", "gain", "per_class", "worst")}


@pytest.mark.parametrize("pattern", READERS)
def test_a_damaged_file_is_never_read_in_silence(pattern, place, tmp_path, monkeypatch, capsys):
    read, tried = READERS[pattern], 0
    monkeypatch.setattr(code, "_LOADED", {})  # as in a process that has imported nothing yet
    monkeypatch.setattr(code, "_BY_PATH", {})
    expected = read(RUN)
    copies = damaged_copies(RUN, tmp_path / "scratch", Path("others/two"), wanted=re.compile(pattern).fullmatch)
    for what, folder in copies:
        file, tried = what.partition(" ")[0], tried + 1
        code._LOADED.clear()
        code._BY_PATH.clear()
        capsys.readouterr()
        try:
            found, said = read(folder), capsys.readouterr().err
        except SsldError as error:
            found, said = None, str(error)
            assert re.search(r"; (repeat|remove|export|go on|use)\b", said), f"{what}: {said}"
            assert "\n" not in said, what
        if found != expected:
            assert Path(file).name in said or Path(file).parent.name in said, f"{what}: {said!r}"
    assert tried >= len(WAYS) - 2


# what is damaged, in which way, and what `ssld run` says of it before it makes it good
MENDED = {
    "plan.yaml": ("a byte in its middle flipped", "plan.yaml: damaged (its checksum"),
    "code/*/nets.py": ("emptied", ""),
    "stages/teach-*/stage.json": ("cut in its middle", "stage teach: stage.json: damaged (no JSON"),
    "stages/plain-*/made_of.json": ("filled with zeros", ""),
    "stages/plain-*/model.safetensors": ("a byte in its middle flipped", "stage plain: model.safetensors is damaged"),
    "stages/distill-*/stage.json": ("deleted", ""),
    "stages/tune-*/model.safetensors": (
        "replaced by a folder",
        "stage tune: model.safetensors is a folder",
    ),
    "samples.npz": ("emptied", ""),
    "export/model.json": ("deleted", ""),
    "teacher_export/contract.json": ("emptied", ""),
}


def test_the_same_command_makes_good_whatever_was_damaged_and_loses_no_bit(place, capsys):
    before = state()
    for pattern, (way, _) in MENDED.items():
        (file,) = RUN.glob(pattern)
        assert damage(file, way, counterpart(Path("others/two"), file.relative_to(RUN).as_posix()))
    run()
    said = capsys.readouterr().err
    for _, line in MENDED.values():
        assert line in said
    assert "img/s" not in said  # nothing was trained: what was lost came from the checkpoints
    assert state() == before
    run()
    assert capsys.readouterr().err == f"{RUN}: already finished\n"


# what follows the training, one at a time: a stage that is not whole would hide it
AFTER = {
    "result.json": ("a byte in its middle flipped", "result.json: damaged"),
    "result.json ": ("swapped with that of another run", "result.json: damaged (it is of another run than plan.yaml)"),
    "samples.npz": ("swapped with that of another run", "samples.npz: damaged (its sha256 is"),
    "bench.csv": ("without its last line", "bench.csv: damaged (its sha256 is"),
    "export/contract.json": ("swapped with that of another run", "export: holds the export of another run"),
    "teacher_export/contract.json": ("swapped with that of another run", "teacher_export: holds the export of another"),
    "teacher_export/model.pdiparams": ("deleted", "teacher_export/model.pdiparams: no such file"),
}


def test_a_run_is_not_finished_while_something_that_it_made_is_lost_or_another(place, capsys):
    one, page = Run.of_plan(plan_of(), RUN, HERE), (RUN / "report.html").read_bytes()
    for name, (way, line) in AFTER.items():
        file = RUN / name.strip()
        content = file.read_bytes()
        assert damage(file, way, counterpart(Path("others/two"), name.strip()))
        assert finished(one, "equal", KnownParts()) is None, name
        assert f"{RUN}/{line}" in capsys.readouterr().err
        file.write_bytes(content)
        (RUN / "report.html").write_bytes(page)
    assert finished(one, "equal", KnownParts()) == read_result(RUN)


def test_a_stage_folder_that_was_removed_is_made_again(place, capsys):
    before = state()
    shutil.rmtree(stages()["tune"].folder)
    assert finished(Run.of_plan(plan_of(), RUN, HERE), "equal", KnownParts()) is None
    train()
    assert "tune       100 %" in capsys.readouterr().err
    assert state() == before


def test_weights_of_an_early_version_without_their_sha256_are_used_and_a_line_says_so(place, capsys):
    file = teach(RUN).folder / "stage.json"
    early = {key: value for key, value in read_json(file, "").items() if key not in ("sha256", "made_of", "curve")}
    file.unlink()
    Path(file).write_text(str(early).replace("'", '"'))
    weights_of(RUN)
    weights_of(RUN)
    said = "an early version wrote stage.json, without the sha256 of model.safetensors: it is used as it is"
    assert capsys.readouterr().err == f"{file.parent}: {said}\n"


# --- every way to read weights


def flipped(stage):
    damage(stage.model_file, "a byte in its middle flipped")


WAYS_TO_WEIGHTS = {
    "eval": lambda: eval_(target=str(RUN), weights=None, data=None, device="cpu"),
    "student": lambda: api.load_run(RUN, device="cpu").student(),
    "teacher": lambda: api.load_run(RUN, device="cpu").teacher(),
    "stage": lambda: api.load_run(RUN, device="cpu").stage("distill").network(),
    "export": lambda: api.export(api.load_run(RUN, device="cpu"), "out"),
}


def test_no_command_reads_weights_that_were_damaged_and_the_advice_brings_them_back(place, monkeypatch):
    before = state()
    for stage in stages().values():
        flipped(stage)
    for name, ask in WAYS_TO_WEIGHTS.items():
        with pytest.raises(SsldError, match=r"model.safetensors is damaged \(sha256\); repeat the `ssld run`"):
            raise AssertionError(f"{name}: {ask()}")
    train()
    for ask in WAYS_TO_WEIGHTS.values():
        ask()
    assert state() == before


def test_a_teacher_from_a_damaged_run_is_refused_until_that_run_is_repeated(place):
    """`teacher.run` names the folder of another run."""
    tree = copy.deepcopy(TREE) | {"teacher": {"run": str(RUN), "norm": "running", "gate": 0}}
    del tree["stages"]["teach"], tree["stages"]["distill"]["labels"]
    plan = load_plan(written(place, tree, "taught.yaml"), [])
    flipped(stages()["tune"])
    with pytest.raises(SsldError, match=r"model.safetensors is damaged \(sha256\); repeat the `ssld run`"):
        run_plan(plan, Path("runs/taught"), HERE, QUIET)
    train()
    Teachers(Run.of_plan(plan, Path("runs/taught"), HERE)).named("teacher")


def test_a_damaged_run_beside_lends_nothing_and_stops_nobody(place, capsys):
    """stage.json, the weights or the curve of a neighbour may be damaged: this run trains the stage itself."""
    before = state()
    damage(teach(RUN).folder / "stage.json", "cut in its middle")
    flipped(stages()["plain"])
    curves = (RUN / "metrics.jsonl").read_text()
    (RUN / "metrics.jsonl").write_text(curves.replace('"stage": "tune", "step": 2', '"stage": "tune", "step": 1'))
    train(Path("runs/two"))
    said = capsys.readouterr().err
    assert "teach: not taken over from one: stage.json: damaged (no JSON" in said
    assert "plain: not taken over from one: model.safetensors is damaged (sha256)" in said
    assert "tune: taken over from one" in said
    assert "metrics.jsonl: damaged; the curve of stage tune is not taken over" in said
    assert bits(Path("runs/two")) == before[0]


# --- a run that was stopped


def stopped(name):
    """A stage as a kill leaves it: with its checkpoint, and without its result."""
    folder = stages()[name].folder
    (folder / "stage.json").unlink()
    (folder / "model.safetensors").unlink()
    return folder


def test_a_checkpoint_of_another_training_is_not_taken(place, capsys):
    """The networks are equal, so that nothing but its name tells it apart."""
    before, folder = state(), stopped("teach")
    (other,) = Path("others/two/stages").glob("teach-*")
    shutil.rmtree(folder / "checkpoint-00000003")
    shutil.copytree(other / "checkpoint-00000003", folder / "checkpoint-00000003")
    train()
    assert "checkpoint-00000003: damaged (it is of another training)" in capsys.readouterr().err
    assert state() == before


def test_lines_that_a_stopped_stage_lost_are_told_and_its_training_goes_on(place, capsys):
    before = state()
    stopped("tune")
    for _ in ("its last evaluation, which is made again", "what was logged of step 3"):
        damage(RUN / "metrics.jsonl", "without its last line")
    train()
    said = capsys.readouterr().err
    assert f"{RUN}/metrics.jsonl: what stage tune logged before step 3 was lost or changed" in said
    assert state() == before


def test_what_made_a_stopped_stage_is_asked_for_where_the_record_is_damaged_and_both_advices_work(place, capsys):
    before = state()
    for advice in ("reuse", "remove"):
        folder = stopped("plain")
        (folder / "made_of.json").write_text("{")
        with pytest.raises(SsldError, match=r"made_of.json: damaged .*; go on all the same with --reuse, or remove"):
            train()
        if advice == "remove":
            shutil.rmtree(folder)
        train(RUN, "any" if advice == "reuse" else "equal")
        assert state() == before


def test_a_folder_whose_plan_was_lost_is_known_by_its_stages_and_another_one_is_not_taken(place, capsys):
    """A process may have been killed after it wrote the copies of the code, too."""
    (RUN / "plan.yaml").unlink()
    open_folder(Run.of_plan(plan_of(), RUN, HERE))
    assert f"{RUN}/plan.yaml: no such file; it is written anew\n" in capsys.readouterr().err
    assert recipe.of_run(RUN).digest == plan_of().digest
    shutil.copyfile("others/two/plan.yaml", RUN / "plan.yaml")
    open_folder(Run.of_plan(plan_of(), RUN, HERE))
    assert "plan.yaml: damaged (it is of another run than result.json); it is written anew" in capsys.readouterr().err
    assert recipe.of_run(RUN).digest == plan_of().digest
    with pytest.raises(SsldError, match=r"one: holds the run of another recipe \(seed is 0 there and 1 here\); choose"):
        open_folder(Run.of_plan(plan_of("seed=1"), RUN, HERE))
    for text in ("", "name: other\n"):
        (Path("others/two") / "plan.yaml").write_text(text)
        with pytest.raises(SsldError, match=r"others/two/plan.yaml: damaged .*; choose another --out"):
            open_folder(Run.of_plan(plan_of(), Path("others/two"), HERE))
    shutil.copytree(RUN / "code", "killed/code")
    (Path("killed") / "plan.yaml.partial-4194304").write_text("# dig")
    open_folder(Run.of_plan(plan_of(), Path("killed"), HERE))
    assert recipe.of_run(Path("killed")).digest == plan_of().digest


# --- the advice of every message about a file of a run: what is damaged, what is asked, and what the message says to do


def page():
    return write_report(RUN)


def benched():
    asked = {"all_students": False, "engine": ["paddle"], "precision": ["fp32"], "batch_size": [1], "image_size": None}
    asked |= {"threads": [1], "span": ["model"], "images": None, "warmup": 1, "repeats": 1, "quick": True, "csv": None}
    return bench(target=[str(RUN)], **asked)


def test_the_export_of_another_network_is_not_overwritten_and_the_advice_works(place):
    before, name = state(), "teacher_export"
    shutil.copytree(f"others/two/{name}", RUN / name, dirs_exist_ok=True)
    content = (RUN / name / "model.pdiparams").read_bytes()
    advice = rf"/{name}: holds the export of .*; choose .* or remove that one; `ssld bench {RUN}` repeats it"
    assert re.search(advice, run()["failures"]["bench"])
    assert (RUN / name / "model.pdiparams").read_bytes() == content
    shutil.rmtree(RUN / name)
    benched()
    assert state() == before


FLIP, FOLDER = "a byte in its middle flipped", "replaced by a folder"
RUNS_AGAIN = r"; repeat the `ssld run` command of this run, which makes it anew$"
EXPORTS_AGAIN = r"; export it again \(`ssld export`\), or repeat the `ssld run` command that wrote it$"
ADVICE = {  # (file, damage, command): the message of the command
    ("result.json", FLIP, page): RUNS_AGAIN,
    ("result.json", "deleted", page): r"result.json\); repeat its `ssld run` command$",
    ("result.json", FOLDER, run): r": is a folder; remove it, and repeat the command$",
    ("samples.npz", FLIP, page): RUNS_AGAIN,
    ("bench.csv", FLIP, page): RUNS_AGAIN,
    ("plan.yaml", FLIP, page): RUNS_AGAIN,
    ("export/model.pdiparams", FLIP, benched): EXPORTS_AGAIN,
    ("export/contract.json", FLIP, benched): EXPORTS_AGAIN,
    ("export/model.json", FOLDER, benched): EXPORTS_AGAIN,
}


@pytest.mark.parametrize("follow", [run, lambda: api.export(api.load_run(RUN, device="cpu"), RUN / "export")])
def test_the_advice_of_every_message_works(follow, place):
    """Every damage is told with its advice; then all files are damaged, and the advice is followed once."""
    cases = {case: advice for case, advice in ADVICE.items() if follow is run or advice is EXPORTS_AGAIN}
    for (name, way, ask), advice in cases.items():
        content = (RUN / name).read_bytes()
        assert damage(RUN / name, way)
        with pytest.raises(SsldError, match=advice) as caught:
            ask()
        assert Path(name).name in str(caught.value)
        if way == FOLDER:
            (RUN / name).rmdir()
        (RUN / name).write_bytes(content)
    for name, way, _ in cases:
        if way != FOLDER and (RUN / name).exists():
            damage(RUN / name, way)
    follow()
    for ask in {ask for _, _, ask in cases}:
        ask()


def test_without_the_damaged_curves_the_page_can_be_written(place, capsys):
    damage(RUN / "metrics.jsonl", "its first byte flipped")
    with pytest.raises(
        SsldError, match=r"line 1 is no record\); remove the file, with which only the curves of the page"
    ):
        page()
    (RUN / "metrics.jsonl").unlink()
    page()
    assert "it does not hold what was logged of teach, plain, distill, tune;" in capsys.readouterr().err


def test_a_damaged_line_of_a_stopped_run_is_named_and_the_file_may_be_removed(place):
    before = state()
    stopped("tune")
    damage(RUN / "metrics.jsonl", "its first byte flipped")
    with pytest.raises(SsldError, match=r"line 1 is no record\); remove the file, with which only curves are lost, or"):
        train()
    (RUN / "metrics.jsonl").unlink()
    train()
    assert state() == before


def test_the_engine_that_a_stage_had_chosen_is_chosen_anew_where_its_record_is_damaged(tmp_path, capsys):
    file = tmp_path / "teacher_engine"
    assert chosen_engine(file) is None
    file.write_text("onednn")  # by an early version
    assert chosen_engine(file) == "onednn"
    for way in WAYS:
        write_json(file, {"engine": "onednn"})
        assert chosen_engine(file) == "onednn"
        if damage(file, way):
            lost = chosen_engine(file) is None
            assert lost == ("quarter" not in way), way  # there stands the name of the checksum
            said = capsys.readouterr().err
            assert (str(file) in said) == (lost and way not in ("deleted", "replaced by a link to itself")), way
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
