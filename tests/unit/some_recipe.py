"""A recipe with a teacher, a baseline and two stages of distillation, for tests of recipes."""

import copy

import pytest
import yaml

from ssld.errors import RecipeError

TREE = {
    "classes": 10,
    "student": {"arch": "MobileNetV3_small_x0_35"},
    "teacher": {"arch": "ResNet18", "stage": "teach"},
    "baseline": "plain",
    "stage": {
        "data": {"train": ["d/train.txt"], "val": "d/val.txt", "size": 32, "batch": 8},
        "optim": {"lr": 0.1, "momentum": 0.8},
    },
    "stages": {
        "teach": {"network": "teacher", "epochs": 2, "loss": {"ce": {}}},
        "plain": {"epochs": 3, "loss": {"ce": {}}},
        "distill": {"epochs": 4, "loss": {"ssld": {}}, "data": {"train": ["d/train.txt", "d/more.txt"]}},
        "finetune": {"epochs": 1, "init": "distill", "loss": {"ssld": {}}, "optim": {"lr": 0.01}},
    },
}


def changed(tree, path, value):
    """A copy of the tree with the value under `a.b.c`; keys are made where there are none."""
    tree = copy.deepcopy(tree)
    *parents, last = path.split(".")
    node = tree
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return tree


def written(folder, tree, name="some.yaml"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return file


def fails(load, tree, *overrides):
    """The message of the RecipeError, which is one line."""
    with pytest.raises(RecipeError) as caught:
        load(tree, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)
