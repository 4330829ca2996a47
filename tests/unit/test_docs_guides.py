"""Quickstart and method: their recipe, their programs and their tables are tried, not believed."""

import re
import shutil

import pytest

from ssld import cli, models
from ssld.config import cards, recipe
from ssld.errors import RecipeError
from ssld.models.base import count
from tests.unit.test_docs import ROOT, commands, section

PAGE = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
LABELLED, OTHER = 620, 1017  # images of the page's example


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder that the page's recipe and card were written to, and that its commands run in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSLD_DATA", raising=False)
    for name, text in zip(("mine.yaml", "teacher.yaml"), blocks("yaml"), strict=True):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_recipe_of_the_quickstart_holds_and_compares_equal_numbers_of_steps(place):
    plan = recipe.load(place / "mine.yaml", [])
    named = [path for stage in plan.stages.values() for path in (*stage.data.train, stage.data.val)]
    assert set(named) == {"mine/train.txt", "mine/val.txt", "pool/unlabelled.txt"}
    images = {"mine/train.txt": LABELLED, "pool/unlabelled.txt": OTHER}
    steps = {
        name: stage.epochs * (sum(images[path] for path in stage.data.train) // stage.data.batch)
        for name, stage in plan.stages.items()
    }
    assert abs(steps["baseline"] - steps["distill"] - steps["finetune"]) < LABELLED // 64


def test_every_change_to_that_recipe_that_the_page_tells_of_is_one(place):
    told = [words for words in commands(ROOT / "docs/quickstart.md") if "mine.yaml" in words]
    told += [line.split() for line in re.findall(r"`(ssld \w+ mine\.yaml[^`]*)`", PAGE)]
    assert len(told) >= 7
    for words in told:
        recipe.load(place / "mine.yaml", cli._parse(words[1:]).overrides)
    for change in (
        ["teacher.norm=running", "teacher.engine=auto"],
        ["teacher.norm=running", "stages.distill.labels={}"],
        ["stages.teach.data.size=96", "stages.teach.data.eval_resize=110"],
        ["stages.distill.data.augment={area: [0.08, 1.0], auto: randaugment}"],
    ):
        recipe.load(place / "mine.yaml", change)


def test_the_card_of_the_quickstart_is_that_of_the_teacher_of_its_recipe(place):
    plan, card = recipe.load(place / "mine.yaml", []), cards.find_teacher(str(place / "teacher.yaml"))
    data = plan.stages["teach"].data
    assert (card.arch, card.input.size, card.input.resize) == (plan.teacher.arch, data.crop, data.resize)
    assert (card.input.mean, card.input.std) == (data.mean, data.std)
    made = models.create(card.arch, num_classes=plan.classes, in_size=data.size)
    assert (card.params, card.macs) == count(made, data.size)


def test_the_example_of_the_quickstart_makes_the_folders_and_lists_that_it_says(place):
    cli.main(["data", "prepare", "digits"])
    exec(compile(blocks("python")[0], "quickstart", "exec"), {})
    for words in commands(ROOT / "docs/quickstart.md"):
        if words[:2] == ["ssld", "data"]:
            cli.main(words[1:])
    assert len((place / "data/mine/train.txt").read_text().splitlines()) == LABELLED
    assert len((place / "data/pool/unlabelled.txt").read_text().splitlines()) == OTHER
    assert f"{LABELLED} labelled and {OTHER:,} other" in PAGE


def test_the_recipes_of_the_page_of_keys_hold_and_the_smallest_needs_all_of_its_keys(tmp_path):
    text = section("docs/recipes.md", "Writing one")
    smallest, changed = re.findall(r"^```yaml\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    shutil.copy(ROOT / "recipes/quickstart.yaml", tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text(changed)
    assert recipe.load(file, []).stages["distill"].loss.keys() == {"ssld", "ce"}
    file.write_text(smallest)
    assert list(recipe.load(file, []).stages) == ["plain"]
    for key in ("classes", "student", "epochs", "data", "loss", "optim"):
        file.write_text(re.sub(rf"^ *{key}:.*\n", "", smallest, flags=re.MULTILINE))
        with pytest.raises(RecipeError, match=key):
            recipe.load(file, [])


def test_the_table_of_published_models_is_that_of_the_recipes():
    table = section("docs/method.md", "The published models")
    rows = re.findall(r"^\| \[(\w+)\]\(\.\./recipes/(\w+)\.yaml\) \|(.*)\|$", table, flags=re.MULTILINE)
    published = {file.stem for file in (ROOT / "recipes").glob("*_ssld*.yaml")} - {"fashion_mnist_ssld"}
    assert {name for name, *_ in rows} == published
    for name, target, cells in rows:
        teacher, *told = [cell.strip().replace(",", "") for cell in cells.split("|")][:-1]
        plan = recipe.load(ROOT / "recipes" / f"{target}.yaml", [])
        first, second = plan.stages["distill"], plan.stages["finetune"]
        plain = cards.find_student(plan.student.arch).published["plain"].top1
        held = (plain, plan.claim, first.data.batch, first.optim.lr, first.optim.weight_decay)
        held += (second.epochs, second.data.batch, second.optim.lr)
        assert (name, teacher, [float(cell) for cell in told]) == (target, plan.teacher.card, list(held))
        assert (first.epochs, second.optim.weight_decay) == (360, first.optim.weight_decay)
