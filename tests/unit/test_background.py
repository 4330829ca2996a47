"""`data.background`: said in a recipe, in no digest at its default, and handed to all that look at images."""

import numpy as np
import pytest
import yaml
from paddle import nn
from PIL import Image

from ssld import weights
from ssld.config import cards, recipe
from ssld.config.mine_step import Mine
from ssld.data.lists import write_list
from ssld.distill import teacher_mining
from ssld.distill.images import centre_crops, file_list, train_loader
from ssld.distill.labelling import manifest
from ssld.distill.runs import Run
from ssld.distill.teachers import Teacher, load_teacher
from ssld.evaluation import scores_on
from ssld.paths import shelf
from ssld.result import contract
from ssld.runtime import Runtime
from tests.unit.some_recipe import TREE, changed, fails, written

ALONE = Runtime(rank=0, world=1, gpu=None)
COLOUR = (10, 120, 230)
KEY = "stage.data.background"


@pytest.fixture
def load(tmp_path):
    return lambda tree=TREE, *overrides: recipe.load(written(tmp_path, tree), overrides)


@pytest.fixture
def clear(tmp_path):
    """A data folder with eight images of which nothing is seen but the background."""
    (tmp_path / "d").mkdir()
    for number in range(8):
        Image.new("RGBA", (40, 40), (200, 0, 0, 0)).save(tmp_path / f"d/{number}.png")
    for name in ("train", "more", "val"):
        write_list(tmp_path / f"d/{name}.txt", [f"{number}.png" for number in range(8)], [0] * 8)
    return tmp_path


def test_a_colour_is_said_in_several_ways_and_white_is_in_no_digest(load):
    plain = load()
    said = [load(changed(TREE, KEY, colour)) for colour in ("#0a78e6", [10, 120, 230])]
    assert said[0].digest == said[1].digest
    assert said[0].stages["plain"].data.background == COLOUR
    assert load(changed(TREE, KEY, "white")).digest == load(changed(TREE, KEY, [255] * 3)).digest == plain.digest
    assert said[0].digest != plain.digest
    message = fails(load, changed(TREE, KEY, "wite"))
    assert "data.background: is no colour; give three whole numbers from 0 to 255" in message


def test_training_evaluation_and_contract_have_the_colour_of_the_recipe(load, clear):
    plan = load(changed(TREE, KEY, list(COLOUR)))
    data = plan.stages["plain"].data
    run = Run(plan, clear / "run", clear, ALONE)
    files = file_list(run, "d/train.txt")
    wanted = (np.array(COLOUR) / 255 - data.mean) / np.array(data.std)
    for loader in (
        train_loader(run.stage("plain"), files, ALONE, 1).batches(0, 1),
        centre_crops(data, files, ALONE).batches(),
    ):
        image = next(iter(loader))["image"].numpy()
        assert np.allclose(image, wanted[None, :, None, None], atol=1e-5)
    assert contract(plan, "MobileNetV3_small_x0_35", "digest", data)["input"]["background"] == list(COLOUR)


def test_a_label_cache_of_another_background_is_another_cache(load, clear):
    def about(colour):
        tree = changed(changed(TREE, KEY, colour), "stages.distill.labels", {"views": 2})
        plan = load(changed(tree, "teacher.norm", "running"))
        run = Run(plan, clear / "run", clear, ALONE)
        teacher = Teacher("teacher", nn.Linear(2, 2), "running", "eager", plan.stages["teach"].data)
        found = manifest(run.stage("distill"), teacher, file_list(run, "d/train.txt"))
        return {key: value for key, value in found.items() if key != "teacher"}

    assert about("white") != about("black")
    assert "background" not in about("white")["views"]  # caches that are older than the key hold


def test_a_mining_and_an_evaluation_see_images_as_the_card_says(clear, monkeypatch):
    card = cards.find_teacher("ResNet50_vd_ssld")
    weights.save({"w": np.zeros(1, "float32")}, clear / "w.safetensors")
    monkeypatch.setattr(teacher_mining, "teacher_weights", lambda *words: clear / "w.safetensors")
    step = Mine(sources=("d",), teacher="ResNet50_vd_ssld", against="d/val.txt", k=1)
    assert teacher_mining.trained(step)[0].input == card.input
    assert card.input.background == (255, 255, 255)
    black = teacher_mining.trained(Mine(**{**vars(step), "background": (0, 0, 0)}))[0].input
    assert (black.background, black.size) == ((0, 0, 0), card.input.size)


@pytest.mark.parametrize("smoke", [False, True])
def test_a_teacher_of_a_recipe_is_shown_the_background_of_its_card(load, clear, smoke):
    card = yaml.safe_load((shelf("teachers") / "ResNet50_vd_ssld.yaml").read_text())
    card["input"]["background"] = list(COLOUR)
    card["arch"] = "MobileNetV3_small_x0_35"
    tree = {**TREE, "teacher": {"card": str(written(clear, card, "own_card.yaml"))}}
    tree["stages"] = {name: stage for name, stage in TREE["stages"].items() if name != "teach"}
    plan = recipe.load(written(clear, changed(tree, KEY, "black")), smoke=smoke)
    teacher = load_teacher(Run(plan, clear / "run", clear, ALONE), "teacher", fresh=True)
    assert teacher.look.background == COLOUR
    assert teacher.shown(plan.stages["distill"].data).background == COLOUR


def test_an_evaluation_of_published_weights_lays_images_on_the_card_s_background(clear):
    from ssld.data import Scoring, read_list

    class Brightness(nn.Layer):
        num_classes = 2

        def forward(self, image):
            level = image.mean([1, 2, 3])
            return nn.functional.pad(level[:, None], [0, 1])  # class 0 where it is brighter than the mean

    files = read_list(clear / "d/val.txt", clear / "d", 2)
    given = {"size": 32, "resize": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    for colour, top1 in (((255, 255, 255), 100.0), ((0, 0, 0), 0.0)):
        scores = scores_on(Brightness(), files, Scoring(), cards.Input(**given, background=colour), ALONE)
        assert scores["top1"] == top1
