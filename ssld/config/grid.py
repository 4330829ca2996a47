"""Define a grid: methods by pairs of networks by seeds, in which nothing but the method differs.

    base: ../_base/grid_fashion_mnist.yaml        # classes, images and settings that all runs share
    teachers: {large: {arch: resnet32x4}}         # each is trained once, by the stage `teach`
    teach: {epochs: 30, loss: {ce: {}}}
    pairs: {same: {student: {arch: resnet8x4}, teachers: [large]}}
    tune: {budget: 8, held_out: 0.2}              # of `ssld grid FILE --tuned`
    methods:
      kl:                                         # the losses of recipes/methods/kl.yaml
      ft: {stages: {distill: {epochs: 14}}}       # those of ft.yaml, with a change
      mine: {stages: {distill: {loss: {kl: {temperature: 2.0}}}}}

Every run of a grid is a recipe of its own, which `Grid.cell` composes: the method's stages over the base, with the
student and the teachers of the pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

from ssld import yaml_text
from ssld.config import parse
from ssld.config.keys import Tree, digested
from ssld.config.recipe import Plan, Stage
from ssld.errors import RecipeError, did_you_mean, shown
from ssld.files import differences
from ssld.losses import Term, build_terms
from ssld.paths import shelf
from ssld.spec.names import check_name
from ssld.spec.ranges import Budget, Count, Prose, Seed, Several, Slice, Text

TEACH = "teach"  # the stage that trains a teacher
SHELF = "grids"  # folder of the recipe shelf
FREE = (
    "loss", "teacher", "teachers", "combine", "peers", "helpers", "init", "train", "epochs", "eval_every", "data.views",
    "optim.algorithm", "optim.delta",
)  # fmt: skip
"""Keys of a stage that belong to a method. All others are settings, which every method of a grid has alike."""
ASKED: Tree = {"norm": "running", "gate": 0}
"""How students ask a teacher. The grid has trained and evaluated it itself, so that it needs no check."""
ALL = "all"  # stands for the teachers of the pair in `teachers` of a stage
COMPANION = "kl of "  # beginning of the name of plain distillation at the weight and temperature of another method


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Name a student and those who teach it. The first teacher teaches alone where a loss does not ask several."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    student: dict[str, object]
    teachers: Annotated[tuple[Text, ...], Several()]


@dataclass(frozen=True, kw_only=True)
class Tune:
    """Say how `ssld tune` searches the values of each method: with how many trials, on which share of the images."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    budget: Budget = 8
    held_out: Slice = 0.2


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Hold a whole grid file.

    name: by default that of the file. seeds: how many, from `seed` on. against: the method that all others are compared
    with. companions: whether plain distillation runs at the weight and temperature of each other method as well. tune:
    the search before the runs with tuned values, the same for every method.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: Text
    title: Prose = ""
    base: Text
    seeds: Count = 5
    seed: Seed = 0
    against: Text = "kl"
    companions: bool = True
    tune: Tune = field(default_factory=Tune)
    teachers: dict[str, dict[str, object]]
    teach: dict[str, object]
    pairs: dict[str, Pair]
    methods: dict[str, dict[str, object] | None]
    folder: Path = field(default=Path(), repr=False)  # where the file lies, which `base` is relative to

    @property
    def all_seeds(self) -> range:
        """Return the seeds of every method on every pair."""
        return range(self.seed, self.seed + self.seeds)

    def teacher(self, name: str) -> Tree:
        """Return the recipe that trains a teacher, which is the student of that run."""
        stages = {TEACH: self.teach}
        tree: Tree = {"name": f"teacher-{name}", "student": self.teachers[name], "stages": stages, "seed": self.seed}
        return self._over_base(tree)

    def cell(self, pair: str, method: Tree, name: str, runs: Mapping[str, str]) -> Tree:
        """Return the recipe of a method on a pair.

        `runs` maps the name of a teacher to the folder of its finished run; of a method that reads each teacher apart,
        or names several, all of the pair teach, otherwise the first one does.
        """
        of_pair, stages = self.pairs[pair], _mapping(method.get("stages"))
        several = any(_asks_several(stage) for stage in stages.values())
        taught = several or any(term.reads.teacher for stage in stages.values() for term in _terms(stage).values())
        names = of_pair.teachers if several else of_pair.teachers[:1] if taught else ()
        if several and len(names) < 2:
            raise RecipeError(f"{self.name}: pairs.{pair}: {name} asks several teachers; name two or more")
        tree: Tree = {
            "name": f"{pair}-{name}".replace(" ", "-"),
            "student": {**of_pair.student, **_mapping(method.get("student"))},
            "teachers": {teacher: {"run": runs[teacher], **ASKED} for teacher in names},
            "stages": {key: _of_stage(stage, of_pair, names if several else ()) for key, stage in stages.items()},
        }
        return self._over_base(tree)

    def _over_base(self, tree: Tree) -> Tree:
        return parse.based({"base": self.base, **tree, "export": {"formats": []}}, self.folder, self.name)


def _of_stage(stage: object, pair: Pair, teachers: tuple[str, ...]) -> Tree:
    """Return a stage of a method with the networks of a pair: these teachers, and fresh students as peers."""
    tree = dict(_mapping(stage))
    if teachers:
        tree["teachers"] = [*teachers]
    if peers := _mapping(tree.get("peers")):
        tree["peers"] = {name: dict(pair.student) for name in peers}
    return tree


def _asks_several(stage: object) -> bool:
    """Return whether a stage names several teachers, or has a loss that reads each teacher apart."""
    named = _mapping(stage).get("teachers")
    if named == ALL or (isinstance(named, list) and len(named) > 1):
        return True
    return any(term.loss.reads.each for term in _terms(stage).values())


def _terms(stage: object) -> dict[str, Term]:
    """Return the terms of a stage of a method, none where it leaves them to the base."""
    tree = _mapping(stage).get("loss")
    return build_terms(tree) if tree else {}


def _mapping(value: object) -> Tree:
    return value if isinstance(value, dict) else {}


def load(path: str) -> Grid:
    """Read and check a grid file, or one of `recipes/grids` by its name.

    It raises RecipeError for an unknown key, a name that is no plain one, a teacher or method that is not there, and a
    method that other settings than its own would make better or worse, see `check_fair`.
    """
    file = _locate(path)
    tree = yaml_text.read_mapping(file, "a grid")
    if isinstance(methods := tree.get("methods"), list):
        tree["methods"] = dict.fromkeys(methods)
    grid = parse.build(Grid, {"name": file.stem, **tree, "folder": file.parent}, path)
    for what, names in (("name", [grid.name]), ("pairs", grid.pairs), ("teachers", grid.teachers)):
        for name in names:
            check_name(name, f"{path}: {what}")
    for what in ("pairs", "teachers", "methods"):
        if not getattr(grid, what):
            raise RecipeError(f"{path}: {what}: a grid needs at least one; name one")
    for name, pair in grid.pairs.items():
        for teacher in pair.teachers:
            if teacher not in grid.teachers:
                hint = did_you_mean(teacher, grid.teachers)
                raise RecipeError(f"{path}: pairs.{name}.teachers: no teacher {shown(teacher)} in this grid{hint}")
    if grid.against not in grid.methods:
        raise RecipeError(f"{path}: against: no method {shown(grid.against)}{did_you_mean(grid.against, grid.methods)}")
    return grid


def _locate(path: str) -> Path:
    if Path(path).is_file():
        return Path(path)
    files = {file.stem: file for file in (shelf("recipes") / SHELF).glob("*.yaml")}
    name = Path(path).stem
    if name in files and Path(path).parent.as_posix() in (".", f"recipes/{SHELF}"):
        return files[name]
    raise RecipeError(f"{path}: no such grid{did_you_mean(name, files) or '; docs/grids.md says how to write one'}")


def methods(grid: Grid) -> dict[str, Tree]:
    """Return the block `student` (its end) and the stages of each method, by name; companions come behind theirs."""
    found: dict[str, Tree] = {}
    for name, changes in grid.methods.items():
        check_name(name, f"{grid.name}: methods")
        found[name] = _method(grid, name, changes or {})
    if grid.companions:
        for name in [*found]:
            if (companion := _companion(found[name])) and companion not in found.values():
                found[f"{COMPANION}{name}"] = companion
    return found


def _method(grid: Grid, name: str, changes: Tree) -> Tree:
    """Return what a recipe of recipes/methods says of a method beside its base, with the changes of the grid."""
    if wrong := [key for key in changes if key not in ("recipe", "student", "stages")]:
        raise RecipeError(
            f"{grid.name}: methods.{name}: no key {wrong[0]!r}; give recipe, student (its head) or stages"
        )
    given = changes.get("recipe")
    file = shelf("recipes") / "methods" / f"{given or name}.yaml"
    if file.is_file():
        tree = yaml_text.read_mapping(file, "a recipe")
        changes = parse.merge(_part(tree), _part(changes))
    elif given is not None or not changes.get("stages"):
        names = [file.stem for file in file.parent.glob("*.yaml")]
        hint = did_you_mean(str(given or name), names) or "; give its stages here"
        raise RecipeError(f"{grid.name}: methods.{name}: no recipes/methods/{given or name}.yaml{hint}")
    part = _part(changes)
    stages = _mapping(part["stages"])
    for stage, block in stages.items():
        try:
            _terms(block)
        except RecipeError as error:
            raise RecipeError(f"{grid.name}: methods.{name}: stages.{stage}.loss{error}") from None
    return part


def _part(tree: Tree) -> Tree:
    """Return what of a recipe is its method: how the student ends, and the stages that do not train a teacher."""
    head = {key: value for key, value in _mapping(tree.get("student")).items() if key == "head"}
    stages = {
        name: stage or {} for name, stage in _mapping(tree.get("stages")).items() if "network" not in _mapping(stage)
    }
    return {"student": head, "stages": stages}


def searched(method: Tree) -> tuple[str, str] | None:
    """Return the stage and the term whose values a search varies: the first term of the last stage that distils.

    Returns None for a method without such a term, such as a training from labels alone.
    """
    stage, block = list(_mapping(method["stages"]).items())[-1]
    distils = [name for name, term in _terms(block).items() if term.learns_from == "distil" or term.loss.reads.each]
    return (stage, distils[0]) if distils else None


def with_values(method: Tree, values: Mapping[str, object]) -> Tree:
    """Return a method with other values of some keys, `stages.distill.loss.kl.weight: 0.5`."""
    changed: Tree = {}
    for path, value in values.items():
        block, keys = changed, path.split(".")
        for key in keys[:-1]:
            block = block.setdefault(key, {})  # type: ignore[assignment]  # what is made here are mappings
        block[keys[-1]] = value
    return parse.merge(method, changed)


def _companion(method: Tree) -> Tree | None:
    """Return plain distillation at the weight and temperature of a method.

    Returns None where no term of the method reads a teacher and has one temperature.
    """
    last, block = list(_mapping(method["stages"]).items())[-1]
    stage = _mapping(block)
    given, terms = _mapping(stage.get("loss")), _terms(stage)
    taught = {name: term for name, term in terms.items() if term.loss.reads.teacher}
    hot = {name: getattr(term.loss, "temperature", None) for name, term in taught.items()}
    name, temperature = next(((name, value) for name, value in hot.items() if isinstance(value, float)), ("", None))
    if temperature is None or any(term.loss.reads.each for term in taught.values()):
        return None
    plain: Tree = {"weight": _mapping(given[name]).get("weight", 1.0), "temperature": temperature}
    task = {name: given[name] for name in terms if name not in taught}
    data = {"data": stage["data"]} if "data" in stage else {}  # views that the terms of the task read
    return {"student": {}, "stages": {last: {**data, "loss": {**task, "kl": plain}}}}


def check_fair(grid: Grid, plans: Mapping[str, Plan]) -> None:
    """Check that the plans of one pair, by method, differ in nothing but their methods.

    Raises RecipeError, which names the key, for a setting of a stage that is not that of `grid.against`, and for stages
    that are not as long as its own in all.
    """
    theirs = plans[grid.against].stages[plans[grid.against].last]
    for name, plan in plans.items():
        for stage in plan.stages.values():
            for key, here, there in differences(_settings(stage), _settings(theirs)):
                what = f"{key} is {shown(here)}, and {shown(there)} for {grid.against}"
                raise RecipeError(f"{grid.name}: methods.{name}: {what}; give all methods the same")
        epochs = sum(stage.epochs for stage in plan.stages.values())
        if abs(epochs - theirs.epochs) > 1e-9:
            what = f"its stages have {epochs:g} epochs in all, and {grid.against} has {theirs.epochs:g}"
            raise RecipeError(f"{grid.name}: methods.{name}: {what}; give all methods the same")


def _settings(stage: Stage) -> Tree:
    """Return the settings of a stage that no method may change. An algorithm of its own brings its own options."""
    tree = digested(stage)
    for path in FREE:
        block, _, key = path.rpartition(".")
        (_mapping(tree.get(block)) if block else tree).pop(key, None)
    return tree
