"""Every recipe of the shelf, whole, in seconds: each stage, loss and network, and the gate of the export.

A file of its own: these take minutes, and go wherever a process is free. Most of it is the export: an HRNet has
hundreds of layers, and is exported once for images of any size and, as ONNX cannot say that of it, once for one size.
"""

import json

import pytest

from ssld.config import cards, parse, recipe
from ssld.plans import load_plan
from tests.e2e.command import succeeds

SECONDS = 900  # on a machine that does other work too
# The 104 of recipes/plain differ in numbers and networks alone: one on each base, small, or the one with most keys.
# The recipes of recipes/ablation share networks and losses with others here; one of them stands for all.
PLAIN = ("mobilenetv1_x0_25", "mobilenetv2_x0_25", "resnet18_vd", "efficientnetb0")
TRANSFER = ("digits_from_fashion", "oxford_102_flowers")  # nine more are the second with other lists and classes
SOME = [f"{folder}/{name}" for folder, names in (("plain", PLAIN), ("transfer", TRANSFER)) for name in names]
NAMES = [file.relative_to(parse.shelf("recipes")).with_suffix("").as_posix() for file in parse.recipes()]
TOP = [name for name in NAMES if "/" not in name]
DIGITS = [name for name in NAMES if name.startswith("methods/") and name.count("/") == 1]
IMAGENET = [name for name in NAMES if name.startswith("methods/imagenet/")]  # other losses of the same networks
CIFAR = [name for name in NAMES if name.startswith("methods/cifar100/")]  # the networks of the literature
# Of every kind of recipe one: with a label cache, of a published student, in int8, without a teacher, with a network
# that was trained on other classes, with layers of a loss, with two teachers.
EVERY_DAY = (
    "label_cache", "mobilenet_v3_small_x1_0_ssld", "fashion_mnist_int8_mobilenet", "plain/resnet18_vd",
    "transfer/digits_from_fashion", "methods/reviewkd", "methods/aver",
)  # fmt: skip


NO_LESSON = ("methods/pskd", "methods/uskd")  # their stage `teach` is that of the base, and nobody asks its network


def marked():
    """`make test` takes EVERY_DAY, `make test-smoke` these and every other kind, `make test-zoo` what is left: of the
    published recipes, which have a teacher of a card, all but that of the smallest student of each series, and those of
    methods on ImageNet and on CIFAR-100.
    """
    plans = {name: recipe.load(f"recipes/{name}.yaml") for name in TOP}
    published = [name for name, plan in plans.items() if plan.teacher and plan.teacher.card]
    cards_of = {name: cards.find_student(plans[name].student.arch) for name in published}
    smallest = {}
    for name in sorted(published, key=lambda name: cards_of[name].params):
        smallest.setdefault(cards_of[name].series, name)
    rare = {*published, *IMAGENET, *CIFAR} - {*smallest.values()}

    def mark(name):
        return [] if name in EVERY_DAY else [pytest.mark.zoo if name in rare else pytest.mark.smoke]

    names = [*TOP, *SOME, "ablation/ablation_stages", *DIGITS, *IMAGENET, *CIFAR]
    return [pytest.param(name, marks=mark(name)) for name in names]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("name", marked())
def test_every_recipe_runs_as_a_smoke_test(name, tmp_path):
    words = ["run", f"recipes/{name}.yaml", "--smoke", "--wandb", "disabled", "--json"]
    result = json.loads(succeeds(*words, cwd=tmp_path))
    plan = json.loads(succeeds("show", name, "--smoke", "--json", cwd=tmp_path))
    assert (result["scope"], result["digest"], list(result["stages"])) == (
        "smoke", plan["digest"], list(plan["stages"])
    )  # fmt: skip
    compared = load_plan(name, (), smoke=True).compared
    assert (compared is not None) == bool(result.get("agreement"))  # also with the teacher of a card, and with several
    assert not plan["teacher"] or name in NO_LESSON or compared
    assert len({row["engine"] for row in result["bench"]}) == 1
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
    contract = json.loads((run / "export" / "contract.json").read_text())
    assert set(contract["gate"]["formats"]) == set(plan["export"]["formats"])
    assert all((run / "export" / file).is_file() for file in contract["files"])
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
