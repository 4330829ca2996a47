"""A grid file, the recipes that it composes, and what it refuses because it would not be fair."""

import re
from pathlib import Path

import pytest

from ssld.config import grid as grids
from ssld.config import recipe
from ssld.errors import RecipeError

SHELF = sorted((Path(__file__).parents[2] / "recipes" / "grids").glob("*.yaml"))
TREE = """
base: base.yaml
seeds: 2
teachers: {large: {arch: ResNet18_vd}, other: {arch: MobileNetV3_large_x0_35}}
teach: {epochs: 3, loss: {ce: {}}}
pairs:
  one: {student: {arch: MobileNetV3_small_x0_35, bn_momentum: 0.9}, teachers: [large, other]}
methods:
"""
BASE = """
classes: 4
stage:
  epochs: 20
  data: {train: [d/train.txt], val: d/val.txt, size: 28, batch: 8}
  optim: {lr: 0.1}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return what loads a grid with these lines as its methods and further lines behind them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)

    def loaded(methods, more=""):
        lines = "".join(f"  {line}\n" for line in methods)
        (tmp_path / "g.yaml").write_text(f"{TREE}{lines}{more}\n")
        return grids.load("g.yaml")

    return loaded


def plans_of(grid):
    runs = {name: f"runs/{name}" for name in grid.teachers}
    cells = {name: grid.cell("one", method, name, runs) for name, method in grids.methods(grid).items()}
    return {name: recipe.from_tree(tree, "g.yaml", Path()) for name, tree in cells.items()}


def test_a_method_is_what_its_recipe_says_over_the_base_and_pair_of_the_grid(load):
    plans = plans_of(load(["kl:", "at: {stages: {distill: {loss: {at: {weight: 7.0}}}}}", "own: {recipe: kl}"]))
    for plan in plans.values():
        assert plan.student.arch == "MobileNetV3_small_x0_35"
        assert {name: teacher.run for name, teacher in plan.teachers.items()} == {"large": "runs/large"}
        assert (plan.stages["distill"].epochs, plan.stages["distill"].data.size) == (20, 28)
    assert plans["at"].stages["distill"].loss["at"].weight == 7.0
    assert plans["own"].stages["distill"].loss == plans["kl"].stages["distill"].loss


def test_methods_with_several_teachers_with_peers_and_without_a_teacher_get_what_they_ask(load):
    mean = "mean: {recipe: kl, stages: {distill: {teachers: all}}}"
    plans = plans_of(load(["kl:", "aver:", "dml:", "plain: {stages: {distill: {loss: {ce: {}}}}}", mean]))
    for name in ("aver", "mean"):
        assert set(plans[name].teachers) == {"large", "other"}
        assert plans[name].stages["distill"].teachers == ("large", "other")
    assert plans["mean"].stages["distill"].loss == plans["kl"].stages["distill"].loss
    assert plans["dml"].teachers == plans["plain"].teachers == {}
    (peer,) = plans["dml"].stages["distill"].peers.values()
    assert peer.arch == plans["dml"].student.arch


def test_a_companion_is_plain_distillation_at_the_weight_and_temperature_of_a_method(load):
    plans = plans_of(load(["kl:", "dkd: {stages: {distill: {loss: {dkd: {weight: 3.0, temperature: 2.0}}}}}", "at:"]))
    assert set(plans) == {"kl", "dkd", "at", "kl of dkd"}
    term = plans["kl of dkd"].stages["distill"].loss["kl"]
    assert (term.weight, term.loss.temperature) == (3.0, 2.0)
    assert plans["kl of dkd"].stages["distill"].loss["ce"] == plans["dkd"].stages["distill"].loss["ce"]
    assert set(plans_of(load(["kl:", "dkd:"], "companions: false"))) == {"kl", "dkd"}


def test_two_stages_count_as_many_epochs_as_one(load):
    grid = load(["kl:", "ft:"])
    grids.check_fair(grid, plans_of(grid))
    longer = load(["kl:", "ft: {stages: {distill: {epochs: 20}}}"])
    with pytest.raises(RecipeError, match=r"^g: methods.ft: its stages have 24 epochs in all, and kl has 20; give all"):
        grids.check_fair(longer, plans_of(longer))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("optim: {lr: 0.05}", "optim.lr is 0.05, and 0.1 for kl"),
        ("data: {batch: 16}", "data.batch is 16, and 8 for kl"),
        ("data: {augment: {flip: 0.0}}", "data.augment.flip is 0.0, and 0.5 for kl"),
        ("data: {train: [d/more.txt]}", "data.train is ['d/more.txt'], and ['d/train.txt'] for kl"),
    ],
)
def test_a_method_with_another_setting_is_refused(load, change, said):
    grid = load(["kl:", f"at: {{stages: {{distill: {{{change}}}}}}}"])
    with pytest.raises(RecipeError, match=f"^g: methods.at: {re.escape(said)}; give all methods the same$"):
        grids.check_fair(grid, plans_of(grid))


def test_views_and_an_optimiser_that_is_the_method_are_no_settings(load):
    grid = load(["kl:", "mlkd: {stages: {distill: {epochs: 20, optim: {lr: 0.1}}}}", "dot:"])
    plans = plans_of(grid)
    grids.check_fair(grid, plans)
    assert plans["dot"].stages["distill"].optim.algorithm == "dot"
    assert plans["mlkd"].stages["distill"].data.views


@pytest.mark.parametrize(
    ("methods", "more", "said"),
    [
        (["kl:", "dkdd:"], "", "g: methods.dkdd: no recipes/methods/dkdd.yaml; did you mean 'dkd'?"),
        (["kl: {epochs: 3}"], "", "g: methods.kl: no key 'epochs'; give recipe, student"),
        (["kl: {stages: {distill: {loss: {kl: {temprature: 2.0}}}}}"], "",
         "g: methods.kl: stages.distill.loss.kl: no option 'temprature'; did you mean 'temperature'?"),
        (["kl:"], "against: k1", "g.yaml: against: no method 'k1'; did you mean 'kl'?"),
        (["kl:", "../x:"], "", "g: methods: '../x' has a path separator; write a plain name, which may be in any "
         "language"),
        (["kl:"], "seed: -1", "g.yaml: seed: should be"),
        (["kl:"], "sedes: 3", "g.yaml: sedes: unknown key; did you mean 'seeds'?"),
    ],
)  # fmt: skip
def test_a_wrong_grid_is_one_line(load, methods, more, said):
    with pytest.raises(RecipeError) as caught:
        grids.methods(load(methods, more))
    assert str(caught.value).startswith(said)


def test_several_teachers_are_asked_of_a_pair_that_has_one(load, tmp_path):
    load(["kl:", "aver:"])
    file = tmp_path / "g.yaml"
    file.write_text(file.read_text().replace("[large, other]", "[large]"))
    with pytest.raises(RecipeError, match=r"^g: pairs.one: aver asks several teachers; name two or more$"):
        plans_of(grids.load("g.yaml"))


@pytest.mark.parametrize("file", SHELF, ids=lambda file: file.stem)
def test_every_grid_of_the_shelf_is_fair(file):
    grid = grids.load(str(file))
    runs = {name: f"runs/{name}" for name in grid.teachers}
    for pair in grid.pairs:
        cells = {name: grid.cell(pair, method, name, runs) for name, method in grids.methods(grid).items()}
        plans = {name: recipe.from_tree(tree, file.name, file.parent) for name, tree in cells.items()}
        grids.check_fair(grid, plans)
        assert len({plan.digest for plan in plans.values()}) == len(plans)
