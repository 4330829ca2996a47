"""How much of a claim a measurement covers: `full`, `reduced` or `smoke`, from its plan and its images, never typed."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ssld.config import parse, recipe
from ssld.config.keys import trained_leaves
from ssld.config.recipe import Plan, Stage
from ssld.paths import shelf

Scope = Literal["full", "reduced", "smoke"]
# Images of the lists that `ssld data prepare imagenet` writes; a test compares them with data/imagenet.py.
IMAGES = {"imagenet/train_list.txt": 1_281_167, "imagenet/val_list.txt": 50_000}
CLASSES, OF_A_CLASS = 1000, 50  # of ImageNet's validation images


def of_list(per_class: Sequence[int]) -> Scope:
    """Of an evaluation on a list that has so many different images of each class: full is the whole validation set."""
    return "full" if list(per_class) == [OF_A_CLASS] * CLASSES else "reduced"


def of_run(result: Mapping[str, Any], committed: Plan | None) -> Scope:
    """Of a finished run: full where its recipe as it stands on the shelf, `committed`, would train and evaluate alike.

    Without such a recipe nothing says what all of it would be, so it is reduced; and so it is where a list of ImageNet
    was not the whole one: by the number of steps, and of the images that were evaluated, and by what the validation
    list held where the result says it (`images.imagenet`).
    """
    plan = plan_of(result)
    if plan.scope == "smoke":
        return "smoke"
    if committed is None or changes(plan, committed):
        return "reduced"
    last = list(plan.stages.values())[-1]
    whole = result["images"]["val"] == IMAGES.get(last.data.val, result["images"]["val"])
    whole &= last.data.val not in IMAGES or result["images"].get("imagenet", True)
    steps = {name: _steps(stage) for name, stage in plan.stages.items()}
    whole &= all(result["stages"][name]["steps"] == wanted for name, wanted in steps.items() if wanted)
    return "full" if whole else "reduced"


def _steps(stage: Stage) -> int | None:
    """Steps of a stage on all images of its lists; None where their number is not known."""
    counts = [IMAGES.get(name) for name in stage.data.train]
    if None in counts:
        return None
    return max(1, round(stage.epochs * (sum(filter(None, counts)) // stage.data.batch)))


def changes(plan: Plan, committed: Plan) -> dict[str, tuple[Any, Any]]:
    """Key -> (value of the recipe, value of the plan), of the keys that change what is trained or evaluated."""
    ours, theirs = (dict(trained_leaves(one)) for one in (plan, committed))
    differ = [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]
    return {key: (theirs.get(key), ours.get(key)) for key in differ}


def plan_of(result: Mapping[str, Any]) -> Plan:
    """The plan of a result; keys that came later have their defaults. Raises RecipeError where it holds no longer.

    A result does not hold the code that it names: of one's own losses the plan has names and options, and no value.
    """
    return recipe.of_record(result["plan"], f"{result['recipe']}: plan of the result {result['digest'][:12]}")


def shelf_recipe(name: str) -> tuple[str, Plan] | None:
    """(`recipes/<file>.yaml`, its plan without overrides) of the plan's name; None where the shelf has none."""
    for file in sorted(parse.recipes(), key=lambda file: (file.stem != name, file)):
        if (plan := recipe.load(file)).name == name:
            return f"recipes/{file.relative_to(shelf('recipes')).as_posix()}", plan
    return None


def cited_plan(path: str) -> Plan:
    """The plan of `recipes/<file>.yaml`, as a card names it. RecipeError where there is no such recipe."""
    return recipe.load(shelf("recipes") / path.removeprefix("recipes/"))
