"""Mining as a step of a recipe, with a real network as teacher."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from ssld import models, weights
from ssld.config import cards, recipe
from ssld.config.keys import digested
from ssld.data import EvalLoader, read_list
from ssld.distill import teacher_mining
from ssld.distill.evaluate import predict
from ssld.distill.runs import Run
from ssld.distill.teachers import Teachers
from ssld.errors import DataError, RecipeError, RunError
from ssld.files import sha256, write_json
from ssld.run import ensure_data, open_folder
from ssld.runtime import Runtime
from tests.unit.mine_place import plain, tiles, write_validation

HERE = Runtime(rank=0, world=1, gpu=None)
ARCH = "MobileNetV3_small_x0_35"
STEP = {"sources": ["pool"], "teacher": "card.yaml", "against": "val/val.txt", "k": 2, "gate": 0}
TREE = {
    "classes": 3,
    "student": {"arch": ARCH},
    "stage": {"data": {"train": ["mined/mined.txt"], "val": "val/val.txt"}, "optim": {"lr": 0.1}},
    "stages": {"plain": {"epochs": 1, "loss": {"ce": {}}}},
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A data folder with validation images, a pool of 6 and a teacher; the working folder is beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSLD_DATA", str(tmp_path / "data"))
    write_validation(tmp_path / "data/val", tiles("flower")[:2])
    (tmp_path / "data/pool").mkdir()
    for colour in range(3):
        for level in (120, 200):
            plain(colour, level).save(tmp_path / f"data/pool/{colour}-{level}.png")
    given = {"size": 32, "resize": 36, "mean": [0.5] * 3, "std": [0.25] * 3}
    card = {"arch": ARCH, "top1": 90.0, "source": "a test", "params": 388_797, "macs": 551_608, "input": given}
    card["weights"] = {"url": "https://example.org/none", "path": "weights/none.safetensors"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    weights.save(models.create(ARCH, num_classes=3, in_size=32), tmp_path / "teacher.safetensors")
    return tmp_path


def load(place, *overrides, smoke=False, **step):
    tree = TREE | {"prepare": {"mined": {**STEP, "weights": "teacher.safetensors", **step}}}
    (place / "some.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    return recipe.load(place / "some.yaml", overrides, smoke=smoke)


def prepared(plan, place):
    """The data folder of a run of the plan, once everything that its recipe makes is there."""
    run = Run.of_plan(plan, place / "out", HERE)
    ensure_data(run, Teachers(run))
    return run.data_root


def test_a_recipe_mines_its_list_once(place, monkeypatch):
    plan = load(place)
    root = prepared(plan, place)
    before = (root / "mined/mining.json").read_bytes()
    files = read_list(root / "mined/mined.txt", root / "mined")
    assert len(files) > 0
    assert {file.rpartition("/")[0] for file in files.paths} == {str(root / "pool")}
    monkeypatch.setattr(teacher_mining, "load_network", lambda *given: pytest.fail("loaded again"))
    prepared(plan, place)
    assert (root / "mined/mining.json").read_bytes() == before


def test_a_changed_step_does_not_replace_what_was_mined(place):
    root = prepared(load(place), place)
    before = (root / "mined/mined.txt").read_bytes()
    advice = r"mined: holds another mining \(.*\); name the step otherwise, or remove .*mined$"
    with pytest.raises(RunError, match=advice):
        prepared(load(place, "prepare.mined.k=1"), place)
    assert (root / "mined/mined.txt").read_bytes() == before


def test_what_mining_does_not_make_is_asked_for_before_it_begins(place, monkeypatch):
    monkeypatch.setattr(teacher_mining, "load_network", lambda *given: pytest.fail("began to mine"))
    lists = "stages.plain.data.train=[mined/mined.txt,val/other.txt]"
    with pytest.raises(DataError, match=r"^stage plain: .*val/other\.txt: no such list file"):
        prepared(load(place, lists), place)
    tree = TREE | {"teacher": {"card": "card.yaml"}, "prepare": {"mined": {**STEP, "weights": "teacher.safetensors"}}}
    (place / "some.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    with pytest.raises(RunError, match=r"^teacher card\.yaml: no weights at weights/none\.safetensors"):
        prepared(recipe.load(place / "some.yaml"), place)
    assert not (place / "data/mined").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"sources": ["nowhere"]},
            r"data/nowhere: no such folder, list file or \.tar; recipes count from \$SSLD_DATA",
        ),
        (
            {"against": "val/gone.txt"},
            r"data/val/gone\.txt: no such list file; recipes count from \$SSLD_DATA",
        ),
        ({"weights": "gone.safetensors"}, r"teacher card\.yaml: no weights at gone\.safetensors"),
    ],
)
def test_what_a_mining_lacks_is_one_line_that_names_its_step(place, change, message):
    with pytest.raises((DataError, RunError), match=rf"^prepare\.mined: .*{message}") as caught:
        prepared(load(place, **change), place)
    assert "\n" not in str(caught.value)


def test_a_smoke_run_mines_nothing(place):
    assert load(place, smoke=True).prepare is None


def test_a_recipe_without_the_step_has_the_digest_that_it_had_before_there_was_one(place):
    with_step = load(place)
    (place / "some.yaml").write_text(yaml.safe_dump(TREE, sort_keys=False))
    plan = recipe.load(place / "some.yaml")
    assert "prepare" not in digested(plan)
    assert plan.digest != with_step.digest


def test_a_wrong_number_is_an_error_of_the_recipe(place):
    with pytest.raises(RecipeError, match=r"some\.yaml: prepare\.mined\.k: should be an integer from 1 to .*; got 0"):
        load(place, k=0)
    with pytest.raises(RecipeError, match=r"some\.yaml: prepare\.mined\.kk: unknown key"):
        load(place, kk=1)


@pytest.mark.parametrize(("module", "named"), [("cv2", "OpenCV"), ("faiss", "faiss")])
def test_a_library_that_is_missing_is_an_error_that_says_what_to_install(module, named):
    code = f"import sys; sys.modules[{module!r}] = None\nfrom ssld import mine, errors\ntry: mine.mine\n"
    code += "except errors.RunError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"mine: {named} is missing or broken (")
    assert done.stdout.endswith('); pip install "ssld[mine]"\n')


def test_scores_are_those_of_an_evaluation(place):
    """Of the network on the same images, through the input pipeline of a recipe; pixels differ by 1/255 at most."""
    prepared(load(place, assign="all", min_score=0.01), place)
    rows = [line.split(",") for line in (place / "data/mined/mined.csv").read_text().splitlines()[1:]]
    found = {(path, int(label)): float(score) for path, label, score in rows}
    network = models.create(ARCH, num_classes=3, in_size=32)
    weights.load_into(network, place / "teacher.safetensors")
    files = read_list(place / "data/mined/mined.txt", place / "data/mined")
    logits, _ = predict(network, EvalLoader(files, size=32, resize=36, batch=3, mean=[0.5] * 3, std=[0.25] * 3))
    wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for (path, label), score in found.items():
        assert score == pytest.approx(wanted[files.paths.index(path), label], abs=2e-3)


def test_an_engine_gives_the_scores_of_the_network(place):
    card = cards.find_teacher(str(place / "card.yaml"))
    network = teacher_mining.load_network(card, place / "teacher.safetensors")
    images = np.random.default_rng(0).standard_normal((5, 3, 32, 32)).astype("float32")
    eager = teacher_mining.probabilities(network, card.input, "eager", 4, HERE)(images)
    found = teacher_mining.probabilities(network, card.input, "onnxruntime", 4, HERE)(images)
    np.testing.assert_allclose(found, eager, atol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_run_lends_the_teacher_that_it_trained(place):
    """The same weights by a card and by the run choose the same images, at the size that the teacher was tested at."""
    data = {"train": ["val/val.txt"], "val": "val/val.txt", "size": 32, "eval_resize": 36, "mean": [0.5] * 3}
    stage = {
        "network": "teacher",
        "epochs": 1,
        "loss": {"ce": {}},
        "data": data | {"std": [0.25] * 3},
        "optim": {"lr": 0.1},
    }
    tree = {"classes": 3, "student": {"arch": ARCH}, "teacher": {"arch": ARCH, "stage": "teach"}}
    stages = {"teach": stage, "plain": TREE["stages"]["plain"] | {"data": data, "optim": {"lr": 0.1}}}
    (place / "own.yaml").write_text(yaml.safe_dump(tree | {"stages": stages}, sort_keys=False))
    plan, run = recipe.load(place / "own.yaml"), place / "run"
    open_folder(Run.of_plan(plan, run, HERE))
    with pytest.raises(RunError, match=r"prepare\.mined: teacher .*run: this run has trained no teacher; give another"):
        prepared(load(place, teacher=str(run), weights=None), place)
    stage = Run.of_plan(plan, run, HERE).stage("teach")
    stage.folder.mkdir(parents=True)
    record = {"digest": stage.digest, "top1": 90.0, "sha256": sha256(place / "teacher.safetensors")}
    write_json(stage.folder / "stage.json", record)
    shutil.copy(place / "teacher.safetensors", stage.model_file)
    with pytest.raises(RunError, match=r"prepare\.mined: teacher .*run: a run has its own weights; leave weights out"):
        prepared(load(place, teacher=str(run)), place)
    root = prepared(load(place), place)
    by_card = (root / "mined/mined.csv").read_text()
    shutil.rmtree(root / "mined")
    prepared(load(place, teacher=str(run), weights=None), place)
    assert (root / "mined/mined.csv").read_text() == by_card
