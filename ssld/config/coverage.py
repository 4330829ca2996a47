"""Decide how much of a claim a measurement covers: `full`, `reduced` or `smoke`.

It follows from the plan and the images of the measurement, and is never typed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, cast

from ssld import yaml_text
from ssld.config import parse, recipe
from ssld.config.keys import trained_leaves
from ssld.config.recipe import Plan, Stage
from ssld.interfaces import StageScores
from ssld.paths import shelf

Scope = Literal["full", "reduced", "smoke"]
# `ssld data prepare imagenet` writes lists of so many images; a test compares them with data/imagenet.py.
IMAGES = {"imagenet/train_list.txt": 1_281_167, "imagenet/val_list.txt": 50_000}
CLASSES, OF_A_CLASS = 1000, 50  # classes of ImageNet's validation images, and images of each class


class _Images(TypedDict, total=False):
    """Hold what a result says of its validation images. Older results do not have `imagenet`."""

    val: int
    imagenet: bool


class _Measured(TypedDict):
    """Hold what decides on the scope of a result, among its other keys."""

    images: _Images
    stages: Mapping[str, StageScores]


def of_list(per_class: Sequence[int]) -> Scope:
    """Return the scope of an evaluation on a list with so many different images of each class.

    Full is the whole set.
    """
    return "full" if list(per_class) == [OF_A_CLASS] * CLASSES else "reduced"


def of_run(result: Mapping[str, object], committed: Plan | None) -> Scope:
    """Return the scope of a finished run.

    It is full where its recipe on the shelf, `committed`, would train and evaluate alike. Without such a recipe nothing
    says what all of it would be, so that it is reduced. It is also reduced where a list of ImageNet was not the whole
    one: by the number of steps and of evaluated images, and by what the validation list held, where the result says it
    (`images.imagenet`).
    """
    plan = plan_of(result)
    if plan.scope == "smoke":
        return "smoke"
    if committed is None or changes(plan, committed):
        return "reduced"
    measured, val = cast(_Measured, result), plan.stages[plan.last].data.val
    images, stages = measured["images"], measured["stages"]
    is_whole = images["val"] == IMAGES.get(val, images["val"])
    is_whole &= val not in IMAGES or images.get("imagenet", True)
    steps = {name: _steps(stage) for name, stage in plan.stages.items()}
    is_whole &= all(stages[name]["steps"] == full_steps for name, full_steps in steps.items() if full_steps)
    return "full" if is_whole else "reduced"


def _steps(stage: Stage) -> int | None:
    """Return the steps of a stage on all images of its lists, or None where their number is not known."""
    counts = [IMAGES.get(name) for name in stage.data.train]
    if None in counts:
        return None
    return max(1, round(stage.epochs * (sum(filter(None, counts)) // stage.data.batch)))


def changes(plan: Plan, committed: Plan) -> dict[str, tuple[object, object]]:
    """Map keys that change what is trained or evaluated to (value of the recipe, value of the plan).

    Keys whose values are the same are left out.
    """
    plan_leaves, recipe_leaves = (dict(trained_leaves(tree)) for tree in (plan, committed))
    differ = [key for key in {**recipe_leaves, **plan_leaves} if plan_leaves.get(key) != recipe_leaves.get(key)]
    return {key: (recipe_leaves.get(key), plan_leaves.get(key)) for key in differ}


def plan_of(result: Mapping[str, object]) -> Plan:
    """Return the plan of a result; keys that came later have their defaults.

    Raises RecipeError where it is no longer valid. A result does not hold the code that it names. Of one's own losses
    the plan has names and options, and no value.
    """
    where = f"{result['recipe']}: plan of the result {str(result['digest'])[:12]}"
    return recipe.of_record(yaml_text.mapping(result["plan"], where), where)


def shelf_recipe(name: str) -> tuple[str, Plan] | None:
    """Return (`recipes/<file>.yaml`, its plan without overrides) for the name of a plan.

    Returns None where the shelf has no such recipe.
    """
    for file in sorted(parse.recipes(), key=lambda file: (file.stem != name, file)):
        if (plan := recipe.load(file)).name == name:
            return f"recipes/{file.relative_to(shelf('recipes')).as_posix()}", plan
    return None


def cited_plan(path: str) -> Plan:
    """Return the plan of `recipes/<file>.yaml`, as a card names it.

    Raises RecipeError where there is no such recipe.
    """
    return recipe.load(shelf("recipes") / path.removeprefix("recipes/"))
