"""Turn the tree of a YAML file into a checked dataclass. Only this module and the losses know pydantic."""

import copy
import dataclasses
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias, TypeVar

import pydantic
from pydantic_core import ErrorDetails, PydanticCustomError

from ssld import yaml_text
from ssld.config.keys import Tree
from ssld.errors import RecipeError, did_you_mean, shown
from ssld.losses import Loss, Term, build_terms
from ssld.losses.terms import keys_of
from ssld.paths import shelf
from ssld.spec.printable import printable

T = TypeVar("T")
KeysAt: TypeAlias = Callable[[list[str]], Collection[str]]
"""A function that returns the keys that the block at a key path may have."""


def locate(path: str | Path) -> Path:
    """Return the file of a recipe, which is given by its path or by its name on the recipe shelf.

    Outside a checkout the names are such as `quickstart` and `recipes/quickstart.yaml`.
    """
    file = Path(path)
    return file if file.is_file() else _on_shelf(file, recipes(), f"{path}: no such recipe")


def _on_shelf(path: Path, files: list[Path], missing: str) -> Path:
    """Return the one of these files of the recipe shelf that a path names. Raises RecipeError where none is named so.

    `missing` begins the message.
    """
    files_by_name = {file.relative_to(shelf("recipes")).with_suffix("").as_posix(): file for file in files}
    name = re.sub(r"^recipes/|\.ya?ml$", "", path.as_posix())
    if name in files_by_name:
        return files_by_name[name]
    raise RecipeError(f"{missing}{did_you_mean(name, files_by_name) or '; `ssld list recipes` prints them'}")


def recipes() -> list[Path]:
    """Return all recipe files of the shelf, without bases, sweeps and grids."""
    files = {file: file.relative_to(shelf("recipes")).parts[0] for file in shelf("recipes").rglob("*.yaml")}
    return sorted(file for file, top in files.items() if not (top.startswith("_") or top in ("sweeps", "grids")))


def merge_base(file: Path) -> Tree:
    """Merge the tree of a recipe over that of its `base:` file, which may have a base of its own."""
    return based(yaml_text.read_mapping(file, "a recipe"), file.parent, str(file))


def based(tree: Tree, folder: Path, where: str, above: tuple[Path, ...] = ()) -> Tree:
    """Merge the tree of a recipe in `folder` over that of its `base:` file, and this one over that of its own base.

    The base is a path relative to the folder, or a name on the recipe shelf, where bases of the shelf begin with
    `_base/`. `where` begins the error messages. `above` are the files whose bases led here; RecipeError is raised where
    one of them is the base.
    """
    if "base" not in tree:
        return copy.deepcopy(tree)
    tree = dict(tree)
    name = tree.pop("base")
    if not isinstance(name, str):
        raise RecipeError(f"{where}: base: should be the path or the name of one recipe; got {shown(name)}")
    base_file = folder / name
    if not base_file.is_file():
        missing = f"{where}: base: no file {base_file}, and no recipe of this name"
        base_file = _on_shelf(Path(name), [*recipes(), *sorted(shelf("recipes").glob("_base/*.yaml"))], missing)
    if base_file.resolve() in above:
        raise RecipeError(f"{where}: base: {name} leads back to itself; leave one of these bases out")
    base = yaml_text.read_mapping(base_file, "a recipe")
    return merge(based(base, base_file.parent, str(base_file), (*above, base_file.resolve())), tree)


def merge(below: Tree, above: Tree) -> Tree:
    """Merge mappings key by key; everything else is replaced."""
    merged = copy.deepcopy(below | above)
    for key in below.keys() & above.keys():
        lower, upper = below[key], above[key]
        if isinstance(lower, dict) and isinstance(upper, dict):
            merged[key] = merge(lower, upper)
    return merged


def spread(tree: Tree, where: str, *, shared: str, over: str) -> Tree:
    """Merge the block `shared` under each entry of `over`.

    `where` begins the message of the RecipeError for a shared block that is no mapping.
    """
    tree = dict(tree)
    given_block, entries = tree.pop(shared, None), tree.get(over)
    block = {} if given_block is None else given_block
    if not isinstance(block, dict):
        raise RecipeError(f"{where}: {shared}: {shown(block)} is not a mapping; give the keys that all {over} share")
    if isinstance(entries, dict):
        given = {name: {} if entry is None else entry for name, entry in entries.items()}
        tree[over] = {name: merge(block, entry) if isinstance(entry, dict) else entry for name, entry in given.items()}
    return tree


def override(tree: Tree, full: Tree, text: str, keys_at: KeysAt = lambda path: ()) -> None:
    """Apply one `key.path=value` to `tree` and to `full`, the same tree with every default filled in.

    Every key must exist in the full tree, also those of a mapping that is given as the value. A mapping that is empty
    there, such as `combine.weights`, is given as a whole. `keys_at` says which keys the block at a key path may have
    besides: earlier overrides may have given another kind of loss, or a block that was null.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"override {shown(text)}: not of the form key.path=value")
    try:
        new_value = yaml_text.parse(value)
    except RecipeError as error:
        raise RecipeError(f"override {path}: {re.sub('^line .*?: ', '', str(error))}") from None
    _change(tree, full, path.split("."), new_value, keys_at)


def _change(tree: Tree, full: Tree, path: list[str], new_value: object, keys_at: KeysAt) -> None:
    block: object = full
    for depth, key in enumerate(path):
        keys = [*block] if isinstance(block, dict) else []
        if isinstance(block, dict) and key not in block:
            keys += keys_at(path[:depth])
        if key not in keys:
            raise RecipeError(f"override {'.'.join(path)}: no key {key!r}{did_you_mean(key, keys)}")
        block = block.get(key) if isinstance(block, dict) else None
    if isinstance(new_value, dict) and isinstance(block, dict) and block:
        for key in sorted(new_value, key=lambda key: key not in block):  # a kind comes before the options it brings
            _change(tree, full, [*path, str(key)], new_value[key], keys_at)
        return
    for changed in (tree, full):
        _set(changed, path, copy.deepcopy(new_value))


def _set(tree: Tree, path: list[str], value: object) -> None:
    """Set the value at a key path. What is no mapping on the way becomes one."""
    for key in path[:-1]:
        below = tree.get(key)
        tree[key] = tree = below if isinstance(below, dict) else {}
    tree[path[-1]] = value


def build(cls: type[T], tree: object, where: str, losses: Mapping[str, type[Loss]] | None = None) -> T:
    """Construct the dataclass. Raises RecipeError of one line, which names file and key, for the first fault.

    `losses` maps names to the losses that a recipe may use; by default they are those of this package.
    """
    try:
        adapter: pydantic.TypeAdapter[T] = _adapter(cls)  # type: ignore[arg-type]  # mypy: no hash in type[T]
        return adapter.validate_python(tree, context=losses)
    except pydantic.ValidationError as error:
        faults = error.errors(include_url=False)
        first_fault = min(faults, key=lambda fault: fault["type"] != "unexpected_keyword_argument")
        raise RecipeError(f"{where}: {_explain(cls, first_fault)}") from None


def _loss_terms(tree: object, info: "pydantic.ValidationInfo[Mapping[str, type[Loss]] | None]") -> dict[str, Term]:
    try:
        return build_terms(tree, info.context)
    except RecipeError as error:
        raise PydanticCustomError("loss", "{reason}", {"reason": str(error)}) from None


LossTerms = pydantic.PlainValidator(_loss_terms)
"""The losses check a mapping of loss terms, whose options are their fields."""


def _view(value: object) -> object:
    if value != "rotations" and not isinstance(value, Mapping):
        reason = "a view is a mapping of keys of augment, such as {auto: randaugment}, or rotations"
        raise PydanticCustomError("view", "{reason}", {"reason": reason})
    return value


ViewKinds = pydantic.BeforeValidator(_view)
"""A view of the images of a stage is a mapping, or the word rotations."""


@cache
def _adapter(cls: type[T]) -> pydantic.TypeAdapter[T]:
    return pydantic.TypeAdapter(cls)


def _explain(cls: type, error: ErrorDetails) -> str:
    location = _keys(cls, [str(part) for part in error["loc"]])
    path = ".".join(part if part == printable(part) and len(part) <= 80 else shown(part) for part in location)
    path = path or "recipe"
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        names = _fields_at(cls, location[:-1])
        hint = did_you_mean(location[-1], names) or f"; known: {', '.join(names)}"
        return f"{path}: unknown key{hint}"
    if error["type"] == "loss":
        return f"{path}{error['msg']}"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{path}: this key is required; add it"
    return f"{path}: {error['msg'].removeprefix('Value error, ')}; got {shown(error['input'])}"


def _keys(cls: object, location: list[str]) -> list[str]:
    """Return the keys of a path, without the names of types that pydantic adds where there is a choice of them."""
    keys: list[str] = []
    for key in location:
        if key not in _names_of_types(_type_at(cls, keys)):
            keys.append(key)
    return keys


def _names_of_types(cls: object) -> list[str]:
    """Return the names of the dataclasses of a choice of types; none where there is one type, or null beside it."""
    members = [member for member in typing.get_args(cls) if member is not type(None)] if _is_union(cls) else []
    blocks = [member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)]
    return [block.__name__ for block in blocks] if len(members) > 1 else []


def _fields_at(cls: object, location: list[str]) -> list[str]:
    """Return the names of the fields of the dataclass at a key path."""
    block = _block(_type_at(cls, location))
    return [f.name for f in dataclasses.fields(block)] if dataclasses.is_dataclass(block) else []


def _type_at(cls: object, location: list[str]) -> object:
    """Return the type of the value at a key path."""
    for key in location:
        cls = _block(cls)
        if dataclasses.is_dataclass(cls):
            cls = typing.get_type_hints(cls).get(key)
        elif typing.get_origin(cls) is dict:
            cls = typing.get_args(cls)[1]
    return cls


def _block(cls: object) -> object:
    """Return the dataclass of a choice of types, or the type itself."""
    members = typing.get_args(cls) if _is_union(cls) else ()
    return next((member for member in members if dataclasses.is_dataclass(member)), cls)


def _is_union(cls: object) -> bool:
    return isinstance(cls, types.UnionType) or typing.get_origin(cls) is typing.Union


def keys_at(cls: type, tree: Tree, path: list[str], losses: Mapping[str, type[Loss]]) -> list[str]:
    """Return the keys that the block at a key path of a tree may have by its type, `cls` being that of the whole tree.

    Those of a term of a loss depend on its kind. Raises RecipeError for a kind that is none of `losses`.
    """
    if _type_at(cls, path) is not Term:
        return _fields_at(cls, path)
    block: object = tree
    for key in path:
        block = block.get(key) if isinstance(block, dict) else None
    try:
        return keys_of(path[-1], block, losses)
    except RecipeError as error:
        raise RecipeError(f"override {'.'.join(path)}: {error}") from None
