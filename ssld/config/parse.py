"""Turn YAML into a checked dataclass.

This is the only module that knows pydantic; with typed.py it is the only one that knows PyYAML.
"""

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
import yaml
from pydantic_core import PydanticCustomError

from ssld.errors import RecipeError, did_you_mean
from ssld.losses import Loss, Term, build_terms
from ssld.paths import shelf
from ssld.spec.colours import colour_of

T = TypeVar("T")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Load safe YAML in which `1e-5` is a number and `off` is text, unlike in YAML 1.1.

    A key may stand only once.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own form
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":bool")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false|True|False)$"), list("tfTF"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _unique_mapping(loader: Any, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise RecipeError(f"line {node.start_mark.line + 1}: key {key!r} stands twice; remove one")
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _unique_mapping)


def read_yaml(file: Path) -> Any:
    """Return the content of a YAML file. Raises RecipeError with the line when it is not YAML or cannot be read."""
    try:
        return yaml.load(file.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a safe loader
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise RecipeError(
            f"{file}: {line}not valid YAML ({getattr(error, 'problem', None) or 'cannot be parsed'})"
        ) from None


def to_yaml(tree: Any) -> str:
    """Return a tree of mappings, lists and scalars as YAML, with its keys in their order."""
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


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
    return based(_mapping(file), file.parent, str(file))


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
    base = _mapping(base_file)
    if "base" in base:
        raise RecipeError(f"{base_file}: base: a base cannot have a base; one level only")
    merged: dict[str, Any] = merge(base, tree)
    return merged


def _mapping(file: Path) -> dict[str, Any]:
    tree = read_yaml(file)
    if not isinstance(tree, dict):
        raise RecipeError(f"{file}: a recipe is a mapping of keys; this file holds {type(tree).__name__}")
    return tree


def merge(below: Any, above: Any) -> Any:
    """Merge mappings key by key; everything else is replaced."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return copy.deepcopy(above)
    return {
        key: merge(below[key], above[key]) if key in below and key in above else copy.deepcopy((below | above)[key])
        for key in {**below, **above}
    }


def spread(tree: dict[str, Any], *, shared: str, over: str) -> dict[str, Any]:
    """Merge the block `shared` under each entry of `over`."""
    tree, block = dict(tree), tree.get(shared) or {}
    tree.pop(shared, None)
    if not isinstance(tree.get(over), dict):
        return tree
    tree[over] = {name: merge(block, stage or {}) for name, stage in tree[over].items()}
    return tree


def override(tree: dict[str, Any], full: dict[str, Any], text: str) -> None:
    """Apply one `key.path=value` to `tree`.

    Every key must exist in the full plan, also those of a mapping that is given as the value. A mapping that is empty
    there, such as `combine.weights`, is given as a whole.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"override {text!r}: not of the form key.path=value")
    try:
        new_value = yaml.load(value, _Loader)  # noqa: S506 - a safe loader
    except RecipeError as error:
        raise RecipeError(f"override {path}: {error}") from None
    except yaml.YAMLError:
        raise RecipeError(f"override {path}: {value!r} is not valid YAML; quote it") from None
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


def _colour(value: Any) -> tuple[int, int, int]:
    try:
        return colour_of(value)
    except ValueError as error:
        raise PydanticCustomError("colour", "{reason}", {"reason": str(error)}) from None


Colours = pydantic.BeforeValidator(_colour)
"""A colour is three whole numbers, or text that says them."""


def _view(value: Any) -> Any:
    if value != "rotations" and not isinstance(value, Mapping):
        reason = "a view is a mapping of keys of augment, such as {auto: randaugment}, or rotations"
        raise PydanticCustomError("view", "{reason}", {"reason": reason})
    return value


ViewKinds = pydantic.BeforeValidator(_view)
"""A view of the images of a stage is a mapping, or the word rotations."""


@cache
def _adapter(cls: Any) -> Any:
    return pydantic.TypeAdapter(cls)


def _explain(cls: type, error: Any) -> str:
    location = _keys(cls, [str(part) for part in error["loc"]])
    path = ".".join(location) or "recipe"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        names = _fields_at(cls, location[:-1])
        hint = did_you_mean(location[-1], names) or f"; known: {', '.join(names)}"
        return f"{path}: unknown key{hint}"
    if error["type"] == "loss":
        return f"{path}{error['msg']}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{path}: this key is required; add it"
    return f"{path}: {error['msg']}; got {error['input']!r}"


def _keys(cls: Any, location: list[str]) -> list[str]:
    """Return the keys of a path, without the names of types that pydantic adds where there is a choice of them."""
    keys: list[str] = []
    for key in location:
        if key not in _names_of_types(_type_at(cls, keys)):
            keys.append(key)
    return keys


def _names_of_types(cls: Any) -> list[str]:
    """Return the names of the dataclasses of a choice of types; none where there is one type, or null beside it."""
    members = [member for member in typing.get_args(cls) if member is not type(None)] if _is_union(cls) else []
    blocks = [member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)]
    return [block.__name__ for block in blocks] if len(members) > 1 else []


def _fields_at(cls: Any, location: list[str]) -> list[str]:
    """Return the names of the fields of the dataclass at a key path."""
    block = _block(_type_at(cls, location))
    return [f.name for f in dataclasses.fields(block)] if dataclasses.is_dataclass(block) else []


def _type_at(cls: Any, location: list[str]) -> Any:
    """Return the type of the value at a key path."""
    for key in location:
        cls = _block(cls)
        if dataclasses.is_dataclass(cls):
            cls = typing.get_type_hints(cls).get(key)
        elif typing.get_origin(cls) is dict:
            cls = typing.get_args(cls)[1]
    return cls


def _block(cls: Any) -> Any:
    """Return the dataclass of a choice of types, or the type itself."""
    members = typing.get_args(cls) if _is_union(cls) else ()
    return next((member for member in members if dataclasses.is_dataclass(member)), cls)


def _is_union(cls: Any) -> bool:
    return isinstance(cls, types.UnionType) or typing.get_origin(cls) is typing.Union


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
    """Check that the numbers of a stage can train a network. Raises RecipeError otherwise.

    `where` is the path of the stage.
    """
    positive = {
        "epochs": stage.epochs,
        "data.batch": stage.data.batch,
        "data.size": stage.data.size,
        "optim.lr": stage.optim.lr,
        "optim.accumulate": stage.optim.accumulate,
        "eval_every": stage.eval_every,
        "data.eval_batch": stage.data.eval_batch,
    }
    if stage.quantize and stage.epochs == 0:
        del positive["epochs"]  # such a stage only sets its ranges
    for key, value in positive.items():
        if not value > 0:
            raise RecipeError(f"{where}.{key}: must be above 0; got {value}")
    if stage.data.batch % stage.optim.accumulate:
        raise RecipeError(
            f"{where}.optim.accumulate: {stage.optim.accumulate} does not divide data.batch {stage.data.batch}"
        )
    if not stage.data.train:
        raise RecipeError(f"{where}.data.train: a stage needs at least one list file")
