"""Turn the tree of a YAML file into a checked dataclass. Only this module and the losses know pydantic."""

import copy
import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pydantic
from pydantic_core import PydanticCustomError

from ssld import yaml_text
from ssld.errors import RecipeError, did_you_mean, shown
from ssld.losses import Loss, Term, build_terms
from ssld.paths import shelf

T = TypeVar("T")


def locate(path: str | Path) -> Path:
    """Return the file of a recipe, which is given by its path or by its name on the recipe shelf.

    Outside a checkout the names are such as `quickstart` and `recipes/quickstart.yaml`.
    """
    file = Path(path)
    if file.is_file():
        return file
    files_by_name = {f.relative_to(shelf("recipes")).with_suffix("").as_posix(): f for f in recipes()}
    name = re.sub(r"^recipes/|\.ya?ml$", "", file.as_posix())
    if name in files_by_name:
        return files_by_name[name]
    raise RecipeError(
        f"{path}: no such recipe{did_you_mean(name, files_by_name) or '; `ssld list recipes` prints them'}"
    )


def recipes() -> list[Path]:
    """Return all recipe files of the shelf, without bases and sweeps."""
    files = {file: file.relative_to(shelf("recipes")).parts[0] for file in shelf("recipes").rglob("*.yaml")}
    return sorted(file for file, top in files.items() if not (top.startswith("_") or top == "sweeps"))


def merge_base(file: Path) -> dict[str, Any]:
    """Merge the tree of a recipe over that of its `base:` file, which may have no base of its own."""
    return based(yaml_text.read_mapping(file, "a recipe"), file.parent, str(file))


def based(tree: dict[str, Any], folder: Path, where: str) -> dict[str, Any]:
    """Merge the tree of a recipe in `folder` over that of its `base:` file.

    `where` begins the error messages.
    """
    if "base" not in tree:
        return copy.deepcopy(tree)
    tree = dict(tree)
    base_file = folder / str(tree.pop("base"))
    if not base_file.is_file():
        raise RecipeError(f"{where}: base: no file {base_file}; a base is named relative to the recipe's folder")
    base = yaml_text.read_mapping(base_file, "a recipe")
    if "base" in base:
        raise RecipeError(f"{base_file}: base: a base cannot have a base; one level only")
    merged: dict[str, Any] = merge(base, tree)
    return merged


def merge(below: Any, above: Any) -> Any:
    """Merge mappings key by key; everything else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copy.deepcopy(above)
    return {
        key: merge(below[key], above[key]) if key in below and key in above else copy.deepcopy((below | above)[key])
        for key in {**below, **above}
    }


def spread(tree: dict[str, Any], where: str, *, shared: str, over: str) -> dict[str, Any]:
    """Merge the block `shared` under each entry of `over`. Raises RecipeError where that block is no mapping."""
    tree = dict(tree)
    block = tree.pop(shared, None)
    if not isinstance(block, dict | None):
        raise RecipeError(f"{where}: {shared}: should be a mapping of keys; got {shown(block)}")
    if not isinstance(tree.get(over), dict):
        return tree
    tree[over] = {name: merge(block or {}, {} if entry is None else entry) for name, entry in tree[over].items()}
    return tree


def override(tree: dict[str, Any], full: dict[str, Any], text: str) -> None:
    """Apply one `key.path=value` to `tree`.

    Every key must exist in the full plan, also those of a mapping that is given as the value. A mapping that is empty
    there, such as `combine.weights`, is given as a whole.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"override {shown(text)}: not of the form key.path=value")
    try:
        new_value = yaml_text.parse(value)
    except RecipeError as error:
        raise RecipeError(f"override {path}: {re.sub('^line .*?: ', '', str(error))}") from None
    _change(tree, full, path.split("."), new_value)


def _change(tree: dict[str, Any], full: dict[str, Any], path: list[str], new_value: Any) -> None:
    block: Any = full
    for key in path:
        if not isinstance(block, dict) or key not in block:
            keys = block if isinstance(block, dict) else ()
            raise RecipeError(f"override {'.'.join(path)}: no key {key!r}{did_you_mean(key, keys)}")
        block = block[key]
    if isinstance(new_value, dict) and isinstance(block, dict) and block:
        for key, item in new_value.items():
            _change(tree, full, [*path, str(key)], item)
        return
    *parents, last_key = path
    node = tree
    for key in parents:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    node[last_key] = new_value


def build(cls: type[T], tree: Any, where: str, losses: Mapping[str, type[Loss]] | None = None) -> T:
    """Construct the dataclass. Raises RecipeError of one line, which names file and key, for the first fault.

    `losses` maps names to the losses that a recipe may use; by default they are those of this package.
    """
    try:
        adapter = _adapter(cls)  # type: ignore[arg-type]  # mypy: no hash in type[T]
        built: T = adapter.validate_python(tree, context=losses)
        return built
    except pydantic.ValidationError as error:
        first_error = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "unexpected_keyword_argument")[
            0
        ]
        raise RecipeError(f"{where}: {_explain(cls, first_error)}") from None


def _loss_terms(tree: Any, info: pydantic.ValidationInfo) -> dict[str, Term]:
    try:
        return build_terms(tree, info.context)
    except RecipeError as error:
        raise PydanticCustomError("loss", "{reason}", {"reason": str(error)}) from None


LossTerms = pydantic.PlainValidator(_loss_terms)
"""The losses check a mapping of loss terms, whose options are their fields."""


@cache
def _adapter(cls: Any) -> Any:
    return pydantic.TypeAdapter(cls)


def _explain(cls: type, error: Any) -> str:
    location = [str(part) for part in error["loc"]]
    path = ".".join(part if part.isprintable() and len(part) <= 80 else shown(part) for part in location) or "recipe"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        names = _fields_at(cls, location[:-1])
        hint = did_you_mean(location[-1], names) or f"; known: {', '.join(names)}"
        return f"{path}: unknown key{hint}"
    if error["type"] == "loss":
        return f"{path}{error['msg']}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{path}: this key is required; add it"
    return f"{path}: {str(error['msg']).removeprefix('Value error, ')}; got {shown(error['input'])}"


def _fields_at(cls: Any, location: list[str]) -> list[str]:
    """Return the names of the fields of the dataclass at a key path."""
    for key in location:
        if dataclasses.is_dataclass(cls):
            cls = typing.get_type_hints(cls).get(key)
        elif typing.get_origin(cls) is dict:
            cls = typing.get_args(cls)[1]
        if isinstance(cls, types.UnionType) or typing.get_origin(cls) is typing.Union:
            cls = next((arg for arg in typing.get_args(cls) if dataclasses.is_dataclass(arg)), cls)
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def check_plan(plan: Any, where: str) -> None:
    """Check what types cannot say: references between stages, and numbers with which a recipe cannot be run.

    Raises RecipeError.
    """
    if not plan.stages:
        raise RecipeError(f"{where}: stages: a recipe needs at least one stage")
    for key, name in [("name", plan.name), *(("stages", name) for name in plan.stages)]:
        if not name or name.startswith(".") or "/" in name or "\\" in name:  # of the folder of a run, and of a stage
            raise RecipeError(f"{where}: {key}: {name!r} names a folder; write a name without slashes and a first dot")
    earlier_stages: dict[str, Any] = {}
    for name, stage in plan.stages.items():
        _check_stage(plan, name, stage, earlier_stages, f"{where}: stages.{name}")
        earlier_stages[name] = stage
    if list(plan.stages.values())[-1].network != "student":
        raise RecipeError(f"{where}: stages: the last stage must train the student; it is what is exported")
    if plan.baseline is not None:
        _check_baseline(plan, f"{where}: baseline")


def _check_baseline(plan: Any, where: str) -> None:
    """RecipeError unless the gain is a difference of two trainings of the student, measured on the same images."""
    if plan.baseline not in plan.stages:
        raise RecipeError(f"{where}: no stage named {plan.baseline!r}{did_you_mean(plan.baseline, plan.stages)}")
    stage, last = plan.stages[plan.baseline], plan.stages[plan.last]
    if stage.network != "student":
        raise RecipeError(f"{where}: stage {plan.baseline!r} trains the {stage.network}; name a stage of the student")
    if stage.data.val != last.data.val:
        what = f"stage {plan.baseline!r} is evaluated on {stage.data.val}, and the last stage on {last.data.val}"
        raise RecipeError(f"{where}: {what}; give both the same data.val")


def _check_stage(plan: Any, name: str, stage: Any, earlier: dict[str, Any], where: str) -> None:
    if stage.continues and stage.init not in earlier:
        hint = did_you_mean(stage.init, [*earlier, "scratch", "pretrained"])
        raise RecipeError(f"{where}.init: no earlier stage named {stage.init!r}{hint}")
    if stage.continues and earlier[stage.init].network != stage.network:
        raise RecipeError(
            f"{where}.init: stage {stage.init!r} trains the {earlier[stage.init].network}; "
            f"name one of the {stage.network}"
        )
    check_numbers(stage, where)


def check_numbers(stage: Any, where: str) -> None:
    """Check that the numbers of a stage go together. Raises RecipeError otherwise.

    `where` is the path of the stage.
    """
    data, optim = stage.data, stage.optim
    if not (stage.epochs or stage.quantize):  # a quantised stage of no epoch sets its ranges
        raise RecipeError(f"{where}.epochs: should be above 0; got {stage.epochs}")
    if data.batch % optim.accumulate:
        what = f"{optim.accumulate} does not divide data.batch {data.batch}"
        raise RecipeError(f"{where}.optim.accumulate: {what}; change one of them")
    if data.resize < data.crop:
        what = f"{data.resize} pixels are less than the {data.crop} of the crop that is taken of them"
        raise RecipeError(f"{where}.data.eval_resize: {what}; give {data.crop} or more")
    ends = {"warmup_epochs": optim.warmup_epochs}
    if optim.schedule == "step":
        ends["milestones"] = max(optim.milestones, default=0)
    if optim.schedule == "exponential":
        ends["decay_epochs"] = optim.decay_epochs
    for key, epoch in ends.items() if stage.epochs else ():
        if epoch >= stage.epochs:
            what = f"epoch {epoch:g} is not within the {stage.epochs:g} epochs of the stage"
            raise RecipeError(f"{where}.optim.{key}: {what}; give less, or more epochs")
