"""Define the types of a recipe. `load(path, overrides)` returns the whole `Plan`; nothing here imports PaddlePaddle.

A recipe file may name one `base:` file. Mappings are merged, and everything else is replaced. The block `stage:` holds
what all stages share, and each entry of `stages:` what it changes. Overrides (`stages.distill.epochs=3`) change keys
and never create one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from ssld.config import check, code, delivery, parse, quantize
from ssld.config.delivery import Bench, Export
from ssld.config.keys import digested, key, plain
from ssld.config.mine_step import Mine
from ssld.config.optim import Optim
from ssld.config.quantize import Quantize
from ssld.config.run_folder import AGAIN, PLAN, RESULT, read_plan
from ssld.config.teachers import Combine, Teacher
from ssld.errors import RecipeError, RunError
from ssld.files import damaged, json_digest
from ssld.losses import Term
from ssld.losses.recorded import with_recorded
from ssld.losses.registry import with_own
from ssld.losses.terms import student_reads, teacher_reads
from ssld.spec.augmentations import Policy
from ssld.spec.colours import WHITE, Colour

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STARTS = ("scratch", "pretrained")  # what a stage may start from besides an earlier one
Terms = Annotated[dict[str, Term], parse.LossTerms]


class Strict:
    """Make an unknown key an error."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Augment(Strict):
    """Say how a training image is changed at random. The defaults are the published crop and flip."""

    area: tuple[float, float] = (0.08, 1.0)  # share of the image that a random crop keeps
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # aspect ratio of that crop
    flip: float = 0.5  # probability of a horizontal flip
    auto: Policy = "none"
    ra_ops: int = 2  # operations of a RandAugment draw
    ra_magnitude: int = 9  # strength of these operations, 0 to 10
    erase: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # alpha of the Beta distribution; 0 is off
    cutmix: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Data(Strict):
    """Describe the images of a stage. Paths are list files (`path label` lines), relative to the data folder."""

    train: tuple[str, ...]
    val: str
    size: int = 224  # pixels of the training crop
    eval_size: int | None = None  # pixels of the centre crop of the evaluation; by default size
    eval_resize: int | None = None  # pixels of the short side before that crop; by default eval_size * 256 / 224
    batch: int = 256  # images of a step over all ranks
    eval_batch: int = key(256, trains=False)
    interpolation: Literal["linear", "cubic"] = "linear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    # This colour is behind transparent pixels in training, evaluation and export.
    background: Annotated[Colour, parse.Colours] = key(WHITE, later=True)
    threads: int = key(2, trains=False)  # threads of the input pipeline of a rank
    augment: Augment = field(default_factory=Augment)

    @property
    def crop(self) -> int:
        """Return the pixels of the centre crop of the evaluation."""
        return self.eval_size or self.size

    @property
    def resize(self) -> int:
        """Return the pixels of the short side before that crop."""
        return self.eval_resize or round(self.crop * 256 / 224)


@dataclass(frozen=True, kw_only=True)
class Labels(Strict):
    """Describe a cache of the teacher's logits.

    It has every image in `views` random views, which the epochs show in turn. A cache is made when a run first needs
    it. Students, seeds and recipes with the same teacher, images and views share it.
    """

    views: int = 4
    k: int | None = 10  # number of the largest logits of a view that are kept; null keeps all
    seed: int = 0  # seed of the views
    # With null it is a folder of $SSLD_LABELS, or else of `labels`, that is named by what the labels depend on.
    folder: str | None = key(None, trains=False)


@dataclass(frozen=True, kw_only=True)
class Stage(Strict):
    """Describe one training of a network with one loss."""

    network: str = "student"  # network that it trains: the student, or a teacher by its name
    init: str = "scratch"  # one of STARTS, or the earlier stage whose result it continues
    train: Literal["all", "head", "head_and_norms"] = "all"  # parameters that are updated; see distill/state.py
    epochs: float
    data: Data
    loss: Terms  # terms by name; see losses/terms.py
    optim: Optim
    eval_every: int = key(1, trains=False)  # epochs between evaluations; the last step is always evaluated
    checkpoint_minutes: float = key(10.0, trains=False)
    # With null the teacher runs beside the student and labels fresh views.
    labels: Labels | None = key(None, later=True)
    quantize: Quantize | None = key(None, later=True)  # with null the stage trains in float
    teacher: str | None = key(None, later=True)  # name of the teacher in `teachers`; null is the only teacher
    teachers: tuple[str, ...] = key((), later=True)  # names of several teachers in `teachers`
    combine: Combine = key(factory=Combine, later=True)  # how several teachers are combined
    # Batch statistics are taken over all ranks; with false each rank has its own, and rank 0's running ones are kept.
    sync_bn: bool = False

    @property
    def continues(self) -> str | None:
        """Return the earlier stage whose result it starts from, or None where there is none."""
        return None if self.init in STARTS else self.init

    @property
    def is_taught(self) -> bool:
        """Return whether a loss of the stage learns from a teacher."""
        return self.epochs > 0 and bool(self.teacher_reads)

    @property
    def teacher_reads(self) -> frozenset[str]:
        """Return the outputs of a teacher that the losses read, `logits` or taps."""
        return teacher_reads(self.loss.values())

    @property
    def student_reads(self) -> frozenset[str]:
        """Return the outputs of the trained network that the losses read."""
        return student_reads(self.loss.values())

    @property
    def needs_labels(self) -> bool:
        """Return whether a loss stops at an image without a label."""
        terms = [term.loss for term in self.loss.values() if "label" in term.loss.reads.batch]
        return any(loss.on_unlabelled() == "refuse" for loss in terms)

    @property
    def asks_teacher(self) -> bool:
        """Return whether the stage learns from a teacher of the recipe.

        A quantised stage may learn from the float network that it starts from instead.
        """
        return self.is_taught and not (self.quantize and self.quantize.teacher == "float")


@dataclass(frozen=True, kw_only=True)
class Network(Strict):
    """Describe the student: an architecture of the zoo, or with `code` a network of one's own."""

    arch: str | None = None
    bn_momentum: float | None = None  # share of the running statistics that is kept; null is that of the architecture
    # The stage with `init: pretrained` starts from this weights file, or from the published training of this name.
    pretrained: str | None = key(None, later=True)
    code: str | None = key(None, later=True)  # a network of one's own instead of `arch`, such as nets.py:Tiny
    options: dict[str, Any] = key(factory=dict, later=True)  # keyword arguments of the class of `code`
    taps: dict[str, str] = key(factory=dict, later=True)  # maps a tap to the path of a layer of that network

    @property
    def title(self) -> str:
        """Return its name in messages and results."""
        return str(self.arch or self.code)


@dataclass(frozen=True, kw_only=True)
class Smoke(Strict):
    """Hold what `--smoke` replaces: sizes that run in seconds on fake images."""

    steps: int = 2
    batch: int = 4
    size: int = 32
    images: int = 16


@dataclass(frozen=True, kw_only=True)
class Plan(Strict):
    """Hold a whole recipe with every default filled in. `digest` names its run, its folder and its result."""

    name: str = key(trains=False)
    title: str = key("", trains=False)
    claim: float | None = key(None, trains=False)  # published top-1 in percent that the recipe should reach
    seed: int = key(0, trains=False)
    code: dict[str, str] = key(factory=dict, later=True)  # maps own Python files, relative to the recipe, to sha256
    classes: int
    dataset: str | tuple[str, ...] | None = None  # kinds of `ssld data prepare` that are made on demand
    # The keys are folders under the data folder; the values say how their `mined.txt` is made.
    prepare: dict[str, Mine] | None = key(None, later=True)
    student: Network
    teacher: Teacher | None = None  # the short form of one teacher, whose name is `teacher`
    teachers: dict[str, Teacher] = key(factory=dict, later=True)  # teachers by name; stages say which of them they ask
    # The gain is measured against the result of this stage; null is the student card's plain top-1.
    baseline: str | None = None
    stages: dict[str, Stage]
    export: Export = key(factory=Export, trains=False)
    bench: Bench = key(factory=Bench, trains=False)
    smoke: Smoke = key(factory=Smoke, trains=False)
    scope: Literal["full", "smoke"] = "full"

    @property
    def datasets(self) -> tuple[str, ...]:
        """Return the kinds of data sets that are made on demand."""
        return (self.dataset,) if isinstance(self.dataset, str) else self.dataset or ()

    @property
    def last(self) -> str:
        """Return the name of the last stage, whose result is the student."""
        return list(self.stages)[-1]

    @cached_property
    def all_teachers(self) -> dict[str, Teacher]:
        """Map names to teachers. The name of the short form is `teacher`."""
        return {**({"teacher": self.teacher} if self.teacher else {}), **self.teachers}

    def teachers_of(self, name: str) -> dict[str, Teacher]:
        """Return the teachers that a stage asks, by name.

        They are those that it names, or else the short form, or else the only teacher there is. There are none where
        the stage asks none, and where it names none of several (a check refuses that).
        """
        stage, teachers = self.stages[name], self.all_teachers
        if not stage.asks_teacher:
            return {}
        names = stage.teachers or (
            (stage.teacher,) if stage.teacher else ("teacher",) if self.teacher else (*teachers,)
        )
        return {teacher: teachers[teacher] for teacher in names} if len(names) == 1 or stage.teachers else {}

    def is_asked(self, teacher: str) -> bool:
        """Return whether any stage asks this teacher."""
        return any(teacher in self.teachers_of(name) for name in self.stages)

    @property
    def compared(self) -> str | None:
        """Return the stage whose teachers the student is compared with: the last one that asks any.

        Returns None where no stage asks any. It is also None where neither the stages that ask teachers nor those that
        train these have the validation images of the last stage, because the teachers then know nothing of them.
        """
        asking = [name for name in self.stages if self.teachers_of(name)]
        if not asking:
            return None
        stages = {teacher.stage for teacher in self.teachers_of(asking[-1]).values()}
        known_sets = [stage.data.val for name, stage in self.stages.items() if name in asking or name in stages]
        return asking[-1] if self.stages[self.last].data.val in known_sets else None

    def network_of(self, role: str) -> Network | Teacher:
        """Return the block of the student, or of a teacher by its name."""
        return self.student if role == "student" else self.all_teachers[role]

    @cached_property
    def digest(self) -> str:
        """Return the sha256 over every key of the recipe.

        docs/ says what it leaves out (device, ranks, contents of lists).
        """
        return json_digest(digested(self))

    @property
    def group(self) -> str:
        """Return the digest without the seed. Runs of one group differ in nothing else."""
        return json_digest({**digested(self), "seed": None})

    def stage_digest(self, name: str) -> str:
        """Return the digest that names a stage's output.

        It covers the keys of the stage, its network, its teacher, and the digests of the stages before it.
        """
        tree, stage = digested(self), self.stages[name]
        network = self.network_of(stage.network)
        parts: dict[str, Any] = {"seed": self.seed, "classes": self.classes, "scope": self.scope}
        parts |= {"name": name, "stage": tree["stages"][name], "network": [network.arch, network.bn_momentum]}
        if network.code:
            parts["network"] += [network.code, network.options, network.taps]
        if code_of_stage := self.code_of(name):
            parts["code"] = code_of_stage
        if stage.continues:
            parts["init"] = self.stage_digest(stage.continues)
        if stage.init == "pretrained":
            parts["init"] = {"pretrained": self.student.pretrained}
        teachers = self.teachers_of(name)
        if list(teachers) == ["teacher"] and self.teacher:
            parts["teacher"] = tree["teacher"]
            if self.teacher.stage:
                parts["teacher_stage"] = self.stage_digest(self.teacher.stage)
        elif teachers:
            parts["teachers"] = [[teacher_name, digested(teacher)] for teacher_name, teacher in teachers.items()]
            parts["teacher_stages"] = [
                self.stage_digest(teacher.stage) for teacher in teachers.values() if teacher.stage
            ]
        return json_digest(parts)

    def code_of(self, name: str) -> dict[str, str]:
        """Map the own files that a stage uses to their sha256: those of its losses, network, images and teachers.

        What a teacher's own stage uses is part of the digest of that stage.
        """
        stage = self.stages[name]
        files = {code.file_of(type(term.loss), self.code) for term in stage.loss.values()}
        networks = [self.network_of(stage.network), *self.teachers_of(name).values()]
        values = [*(network.code for network in networks), *stage.data.train, stage.data.val]
        files |= {code.split(text)[0] for text in values if text and code.is_code(text)}
        return {file: self.code[file] for file in sorted(filter(None, files))}


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = (), *, smoke: bool = False) -> Plan:
    """Read a recipe, merge, override and check it. Raises RecipeError: `file: key.path: what; what to do`."""
    file = parse.locate(path)
    tree = parse.merge_base(file)
    tree.setdefault("name", file.stem)
    return from_tree(tree, str(path), file.parent, overrides, smoke=smoke)


def of_mapping(
    mapping: Mapping[str, object], overrides: list[str] | tuple[str, ...] = (), *, smoke: bool = False
) -> Plan:
    """Return the plan of a recipe that is a mapping, as a YAML file would hold it. Raises RecipeError as `load` does.

    `base` and own code are relative to the current folder.
    """
    tree = parse.based(dict(mapping), Path(), "recipe")
    tree.setdefault("name", "recipe")
    return from_tree(tree, "recipe", Path(), overrides, smoke=smoke)


def from_tree(
    tree: dict[str, Any],
    where: str,
    folder: Path,
    overrides: list[str] | tuple[str, ...] = (),
    *,
    smoke: bool = False,
) -> Plan:
    """Return the plan of a recipe that consists of mappings and scalars.

    `where` begins its error messages; its own code is relative to `folder`.
    """
    tree = parse.spread(tree, shared="stage", over="stages")
    files = tree.get("code")
    tree["code"] = _load_code(tree, where, folder)
    plan = build(tree, where)
    for override in overrides:
        parse.override(tree, plan_tree(plan), override)
    if overrides:
        tree["code"] = _load_code({**tree, "code": files}, where, folder)
        plan = build(tree, where)
    parse.check_plan(plan, where)
    check.check_parts(plan, where)
    return shrink(plan) if smoke else plan


def build(tree: dict[str, Any], where: str) -> Plan:
    """Make a plan from its whole tree, whose own code is loaded."""
    return parse.build(Plan, tree, where, losses=with_own(code.modules(tree.get("code") or {})))


def of_record(tree: dict[str, Any], where: str) -> Plan:
    """Make a plan from the whole tree that a result holds.

    Its own code need not be at hand, so that the plan can be read and not run.
    """
    stages = _values(tree.get("stages"))
    return parse.build(Plan, tree, where, losses=with_recorded(stage.get("loss") for stage in stages))


def of_run(folder: Path) -> Plan:
    """Return the plan that a run folder keeps, as `dump` wrote it. Raises RunError where it is damaged."""
    file, digest = folder / PLAN, read_plan(folder)[0]
    try:
        tree = parse.read_yaml(file)
    except RecipeError as error:
        raise damaged(file, str(error).removeprefix(f"{file}: "), AGAIN) from None
    if not isinstance(tree, dict):
        raise damaged(file, "it holds no plan", AGAIN)
    code.reload(tree.get("code") or {}, folder)
    plan = build(tree, str(file))
    if plan.digest != digest:
        raise damaged(file, "its digest is that of another plan", AGAIN)
    return plan


def of_finished_run(folder: Path) -> Plan:
    """Return the plan of a finished run, as `of_run` does.

    Raises RunError where the folder holds no run, and where the run is not finished.
    """
    if not ((folder / PLAN).exists() or (folder / "stages").is_dir()):
        raise RunError(f"{folder}: no run here (no {PLAN}); give the folder that `ssld run` printed")
    if not (folder / RESULT).exists():
        raise RunError(f"{folder}: this run is not finished (no {RESULT}); repeat its `ssld run` command")
    return of_run(folder)


def _load_code(tree: dict[str, Any], where: str, folder: Path) -> dict[str, str]:
    """Load the recipe's own Python files, and map each to its sha256.

    They are those of the list `code`, and those that networks and images name.
    """
    files = tree.get("code") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise RecipeError(f"{where}: code: {files!r} is not a list of Python files; write [losses.py, nets.py]")
    try:
        return code.load(dict.fromkeys([*files, *_named_files(tree)]), folder)
    except RecipeError as error:
        raise RecipeError(f"{where}: code: {error}") from error


def _named_files(tree: dict[str, Any]) -> list[str]:
    """Return the Python files that networks and images of one's own name, in a tree that is not checked yet."""
    blocks = [tree.get("student"), tree.get("teacher"), *_values(tree.get("teachers"))]
    values = [block.get("code") for block in blocks if isinstance(block, dict)]
    for stage in _values(tree.get("stages")):
        data = stage.get("data") if isinstance(stage, dict) else None
        if isinstance(data, dict):
            train = data.get("train")
            values += [*(train if isinstance(train, list) else [train]), data.get("val")]
    return [code.split(text)[0] for text in values if isinstance(text, str) and code.is_code(text)]


def _values(tree: Any) -> list[Any]:
    return list(tree.values()) if isinstance(tree, dict) else []


def shrink(plan: Plan) -> Plan:
    """Return the same recipe at a size that runs in seconds: every stage, loss and network, on fake images."""
    tree, smoke = plan_tree(plan), plan.smoke
    tree |= {"scope": "smoke", "dataset": None, "prepare": None, "claim": None}
    for name, stage in tree["stages"].items():
        lists = ["fake/train_labelled.txt"]
        if not plan.stages[name].needs_labels:
            lists.append("fake/train_unlabelled.txt")
        if stage["epochs"]:
            stage["epochs"] = smoke.steps * smoke.batch / (smoke.images * len(lists))
        stage["data"] |= {"train": lists, "val": "fake/val.txt", "size": smoke.size, "batch": smoke.batch, "threads": 1}
        stage["data"] |= {"eval_size": smoke.size, "eval_resize": smoke.size, "eval_batch": smoke.batch}
        if stage["labels"]:
            stage["labels"] |= {"folder": None}
        if stage["quantize"]:
            quantize.shrink(stage["quantize"], smoke.images)
            stage["optim"] |= {"clip_norm": 1.0}  # rounding makes channels constant, so that their gradients reach 1e11
        stage["optim"] |= {"lr": 1e-5, "warmup_epochs": 0, "accumulate": 1, "amp": "off"}
    teachers = {name: teacher for name, teacher in {"teacher": tree["teacher"], **tree["teachers"]}.items() if teacher}
    for name, network in {"student": tree["student"], **teachers}.items():
        if name == "student" or not plan.all_teachers[name].is_foreign:
            network["bn_momentum"] = 0.7  # a mean of fresh statistics (logits up to 1e12) and those of two batches
        if name != "student":
            network["gate"] = 0
    delivery.shrink(tree["export"], tree["bench"], smoke.images)
    return build(tree, plan.name)


def plan_tree(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain mappings, lists and scalars."""
    tree: dict[str, Any] = plain(plan)
    return tree


def dump(plan: Plan) -> str:
    """Return the full plan as YAML, with base, overrides and every default filled in."""
    return parse.to_yaml(plan_tree(plan))
