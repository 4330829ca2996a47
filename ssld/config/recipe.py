"""A recipe, typed. `load(path, overrides)` returns the whole `Plan`; nothing here imports PaddlePaddle.

A recipe file may name one `base:` file. Mappings merge, everything else is replaced. The block `stage:` holds what all
stages share, each entry of `stages:` what it changes. Overrides (`stages.distill.epochs=3`) change keys, never create
one.
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
from ssld.config.teachers import Combine, Teacher
from ssld.errors import RecipeError, RunError
from ssld.files import json_digest
from ssld.losses import Term
from ssld.losses.recorded import with_recorded
from ssld.losses.registry import with_own
from ssld.losses.terms import student_reads, teacher_reads
from ssld.spec.augmentations import Policy
from ssld.spec.colours import WHITE, Colour

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STARTS = ("scratch", "pretrained")  # what a stage may start from beside an earlier one
Terms = Annotated[dict[str, Term], parse.LossTerms]


class Strict:
    """An unknown key is an error."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Augment(Strict):
    """Random changes of a training image. The defaults are the published crop and flip."""

    area: tuple[float, float] = (0.08, 1.0)  # share of the image that a random crop keeps
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # aspect ratio of that crop
    flip: float = 0.5  # probability of a horizontal flip
    auto: Policy = "none"
    ra_ops: int = 2  # operations of a RandAugment draw
    ra_magnitude: int = 9  # their strength, 0 to 10
    erase: float = 0.0  # probability of random erasing
    mixup: float = 0.0  # alpha of the Beta distribution; 0 is off
    cutmix: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Data(Strict):
    """Images of a stage. Paths are list files (`path label` lines), relative to the data folder."""

    train: tuple[str, ...]
    val: str
    size: int = 224  # pixels, training crop
    eval_size: int | None = None  # pixels, centre crop of the evaluation; default: size
    eval_resize: int | None = None  # pixels, short side before that crop; default: eval_size * 256 / 224
    batch: int = 256  # images of a step, over all ranks
    eval_batch: int = key(256, trains=False)
    interpolation: Literal["linear", "cubic"] = "linear"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    # the colour behind transparent pixels, in training, evaluation and export
    background: Annotated[Colour, parse.Colours] = key(WHITE, later=True)
    threads: int = key(2, trains=False)  # of the input pipeline, a rank
    augment: Augment = field(default_factory=Augment)

    @property
    def crop(self) -> int:
        return self.eval_size or self.size

    @property
    def resize(self) -> int:
        return self.eval_resize or round(self.crop * 256 / 224)


@dataclass(frozen=True, kw_only=True)
class Labels(Strict):
    """A cache of the teacher's logits: every image in `views` random views, which the epochs show in turn.

    Made when a run first needs it; students, seeds and recipes with the same teacher, images and views share it.
    """

    views: int = 4
    k: int | None = 10  # logits of a view that are kept, the largest; null: all
    seed: int = 0  # of the views
    # null: a folder of $SSLD_LABELS, else of `labels`, named by what the labels depend on
    folder: str | None = key(None, trains=False)


@dataclass(frozen=True, kw_only=True)
class Stage(Strict):
    """student -> student (or teacher -> teacher): one training with one loss."""

    network: str = "student"  # which network it trains: the student, or a teacher by its name
    init: str = "scratch"  # one of STARTS, or the earlier stage whose result it continues
    train: Literal["all", "head", "head_and_norms"] = "all"  # what is updated; see distill/state.py
    epochs: float
    data: Data
    loss: Terms  # by name; see losses/terms.py
    optim: Optim
    eval_every: int = key(1, trains=False)  # epochs between evaluations; the last step is always evaluated
    checkpoint_minutes: float = key(10.0, trains=False)
    labels: Labels | None = key(None, later=True)  # null: the teacher runs beside the student and labels fresh views
    quantize: Quantize | None = key(None, later=True)  # null: the stage trains in float
    teacher: str | None = key(None, later=True)  # who teaches, a name of `teachers`; null: the only teacher there is
    teachers: tuple[str, ...] = key((), later=True)  # several who teach together, names of `teachers`
    combine: Combine = key(factory=Combine, later=True)  # how several speak as one
    sync_bn: bool = (
        False  # batch statistics over all ranks; false: each rank its own, rank 0's running statistics are kept
    )

    @property
    def continues(self) -> str | None:
        """The earlier stage whose result it starts from, if there is one."""
        return None if self.init in STARTS else self.init

    @property
    def is_taught(self) -> bool:
        """Whether a loss of it learns from a teacher."""
        return self.epochs > 0 and bool(self.teacher_reads)

    @property
    def teacher_reads(self) -> frozenset[str]:
        """The outputs of a teacher that the losses read, `logits` or taps."""
        return teacher_reads(self.loss.values())

    @property
    def student_reads(self) -> frozenset[str]:
        """The outputs of the trained network that the losses read."""
        return student_reads(self.loss.values())

    @property
    def needs_labels(self) -> bool:
        """Whether a loss stops at an image without a label."""
        terms = [term.loss for term in self.loss.values() if "label" in term.loss.reads.batch]
        return any(loss.on_unlabelled() == "refuse" for loss in terms)

    @property
    def asks_teacher(self) -> bool:
        """Whether that is a teacher of the recipe, and not the float network that a quantised stage starts from."""
        return self.is_taught and not (self.quantize and self.quantize.teacher == "float")


@dataclass(frozen=True, kw_only=True)
class Network(Strict):
    """The student: an architecture of the zoo, or with `code` a network of one's own."""

    arch: str | None = None
    bn_momentum: float | None = None  # of the running statistics (share kept); null: the architecture's own
    pretrained: str | None = key(
        None, later=True
    )  # what `init: pretrained` starts from: a weights file, or a published training's name
    code: str | None = key(None, later=True)  # a network of one's own instead of `arch`, such as nets.py:Tiny
    options: dict[str, Any] = key(factory=dict, later=True)  # keyword arguments of the class of `code`
    taps: dict[str, str] = key(factory=dict, later=True)  # name of a tap -> path of a layer of that network

    @property
    def title(self) -> str:
        """Its name in messages and results."""
        return str(self.arch or self.code)


@dataclass(frozen=True, kw_only=True)
class Smoke(Strict):
    """What `--smoke` replaces: sizes that run in seconds on fake images."""

    steps: int = 2
    batch: int = 4
    size: int = 32
    images: int = 16


@dataclass(frozen=True, kw_only=True)
class Plan(Strict):
    """A whole recipe, every default filled in. `digest` names its run, its folder and its result."""

    name: str = key(trains=False)
    title: str = key("", trains=False)
    claim: float | None = key(None, trains=False)  # published top-1 that the recipe should reach, percent
    seed: int = key(0, trains=False)
    code: dict[str, str] = key(factory=dict, later=True)  # own Python files, relative to the recipe -> sha256
    classes: int
    dataset: str | tuple[str, ...] | None = None  # `ssld data prepare` kinds that are made on demand
    prepare: dict[str, Mine] | None = key(
        None, later=True
    )  # folder under the data folder -> how its `mined.txt` is made
    student: Network
    teacher: Teacher | None = None  # the short form of one teacher, whose name is `teacher`
    teachers: dict[str, Teacher] = key(factory=dict, later=True)  # by name; stages say which of them they ask
    baseline: str | None = (
        None  # the stage whose result the gain is measured against; null: the student card's plain top-1
    )
    stages: dict[str, Stage]
    export: Export = key(factory=Export, trains=False)
    bench: Bench = key(factory=Bench, trains=False)
    smoke: Smoke = key(factory=Smoke, trains=False)
    scope: Literal["full", "smoke"] = "full"

    @property
    def datasets(self) -> tuple[str, ...]:
        """The kinds that are made on demand."""
        return (self.dataset,) if isinstance(self.dataset, str) else self.dataset or ()

    @property
    def last(self) -> str:
        """The name of the last stage, whose result is the student."""
        return list(self.stages)[-1]

    @cached_property
    def all_teachers(self) -> dict[str, Teacher]:
        """Name -> teacher; the name of the short form is `teacher`."""
        return {**({"teacher": self.teacher} if self.teacher else {}), **self.teachers}

    def teachers_of(self, name: str) -> dict[str, Teacher]:
        """Those whom a stage asks, by name: those that it names, else the short form, else the only teacher there is.

        It is empty where the stage asks none, and where it names none of several (a check refuses that).
        """
        stage, known = self.stages[name], self.all_teachers
        if not stage.asks_teacher:
            return {}
        names = stage.teachers or ((stage.teacher,) if stage.teacher else ("teacher",) if self.teacher else (*known,))
        return {one: known[one] for one in names} if len(names) == 1 or stage.teachers else {}

    def is_asked(self, teacher: str) -> bool:
        """Whether any stage asks this teacher."""
        return any(teacher in self.teachers_of(name) for name in self.stages)

    @property
    def compared(self) -> str | None:
        """The stage whose teachers the student is compared with: the last that asks any.

        None where there is none, and where these taught other images than the last stage's: of these they know nothing.
        """
        asking = [name for name in self.stages if self.teachers_of(name)]
        if not asking:
            return None
        stages = {teacher.stage for teacher in self.teachers_of(asking[-1]).values()}
        taught = [stage.data.val for name, stage in self.stages.items() if name in asking or name in stages]
        return asking[-1] if self.stages[self.last].data.val in taught else None

    def network_of(self, role: str) -> Network | Teacher:
        """The block of the student, or of a teacher by its name."""
        return self.student if role == "student" else self.all_teachers[role]

    @cached_property
    def digest(self) -> str:
        """sha256 over every key of the recipe. What it leaves out (device, ranks, contents of lists) is in docs/."""
        return json_digest(digested(self))

    @property
    def group(self) -> str:
        """The digest without the seed: runs of one group differ in nothing else."""
        return json_digest({**digested(self), "seed": None})

    def stage_digest(self, name: str) -> str:
        """Names a stage's output: its own keys, its network, its teacher, and the digests of the stages before it."""
        tree, stage = digested(self), self.stages[name]
        network = self.network_of(stage.network)
        parts: dict[str, Any] = {"seed": self.seed, "classes": self.classes, "scope": self.scope}
        parts |= {"name": name, "stage": tree["stages"][name], "network": [network.arch, network.bn_momentum]}
        if network.code:
            parts["network"] += [network.code, network.options, network.taps]
        if own := self.code_of(name):
            parts["code"] = own
        if stage.continues:
            parts["init"] = self.stage_digest(stage.continues)
        if stage.init == "pretrained":
            parts["init"] = {"pretrained": self.student.pretrained}
        asked = self.teachers_of(name)
        if list(asked) == ["teacher"] and self.teacher:
            parts["teacher"] = tree["teacher"]
            if self.teacher.stage:
                parts["teacher_stage"] = self.stage_digest(self.teacher.stage)
        elif asked:
            parts["teachers"] = [[one, digested(teacher)] for one, teacher in asked.items()]
            parts["teacher_stages"] = [self.stage_digest(teacher.stage) for teacher in asked.values() if teacher.stage]
        return json_digest(parts)

    def code_of(self, name: str) -> dict[str, str]:
        """The own files that a stage uses -> sha256: of its losses, its network, its images and its teachers.

        What a teacher's own stage uses stands in the digest of that stage.
        """
        stage = self.stages[name]
        used = {code.file_of(type(term.loss), self.code) for term in stage.loss.values()}
        networks = [self.network_of(stage.network), *self.teachers_of(name).values()]
        given = [*(network.code for network in networks), *stage.data.train, stage.data.val]
        used |= {code.split(text)[0] for text in given if text and code.is_code(text)}
        return {file: self.code[file] for file in sorted(filter(None, used))}


def load(path: str | Path, overrides: list[str] | tuple[str, ...] = (), *, smoke: bool = False) -> Plan:
    """Read, merge, override, check. Raises RecipeError: `file: key.path: what; what to do`."""
    file = parse.locate(path)
    tree = parse.merge_base(file)
    tree.setdefault("name", file.stem)
    return from_tree(tree, str(path), file.parent, overrides, smoke=smoke)


def of_mapping(
    given: Mapping[str, object], overrides: list[str] | tuple[str, ...] = (), *, smoke: bool = False
) -> Plan:
    """The plan of a recipe that is a mapping, as a YAML file would hold it. Raises as `load`.

    `base` and own code are relative to the current folder.
    """
    tree = parse.based(dict(given), Path(), "recipe")
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
    """The plan of a recipe as mappings and scalars. `where` begins its errors; its own code is relative to `folder`."""
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
    """A plan from its whole tree, whose own code is loaded."""
    return parse.build(Plan, tree, where, losses=with_own(code.modules(tree.get("code") or {})))


def of_record(tree: dict[str, Any], where: str) -> Plan:
    """A plan from the whole tree that a result holds, whose own code need not be at hand: it can be read, not run."""
    stages = _values(tree.get("stages"))
    return parse.build(Plan, tree, where, losses=with_recorded(stage.get("loss") for stage in stages))


def of_run(folder: Path) -> Plan:
    """The plan that a run folder keeps, as `dump` wrote it."""
    file = folder / "plan.yaml"
    tree = parse.read_yaml(file)
    code.reload(tree.get("code") or {}, folder)
    return build(tree, str(file))


def of_finished_run(folder: Path) -> Plan:
    """As `of_run`. RunError where the folder holds no run, and where the run is not finished."""
    if not (folder / "plan.yaml").is_file():
        raise RunError(f"{folder}: no run here (no plan.yaml); give the folder that `ssld run` printed")
    if not (folder / "result.json").is_file():
        raise RunError(f"{folder}: this run is not finished; repeat its `ssld run` command")
    return of_run(folder)


def _load_code(tree: dict[str, Any], where: str, folder: Path) -> dict[str, str]:
    """File -> sha256 of the recipe's `code`, a list of Python files, and of the files that networks and images name."""
    files = tree.get("code") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise RecipeError(f"{where}: code: {files!r} is not a list of Python files; write [losses.py, nets.py]")
    try:
        return code.load(dict.fromkeys([*files, *_named_files(tree)]), folder)
    except RecipeError as error:
        raise RecipeError(f"{where}: code: {error}") from error


def _named_files(tree: dict[str, Any]) -> list[str]:
    """The Python files that networks and images of one's own stand in, in a tree that is not checked yet."""
    blocks = [tree.get("student"), tree.get("teacher"), *_values(tree.get("teachers"))]
    given = [block.get("code") for block in blocks if isinstance(block, dict)]
    for stage in _values(tree.get("stages")):
        data = stage.get("data") if isinstance(stage, dict) else None
        if isinstance(data, dict):
            train = data.get("train")
            given += [*(train if isinstance(train, list) else [train]), data.get("val")]
    return [code.split(text)[0] for text in given if isinstance(text, str) and code.is_code(text)]


def _values(tree: Any) -> list[Any]:
    return list(tree.values()) if isinstance(tree, dict) else []


def shrink(plan: Plan) -> Plan:
    """The same recipe at a size that runs in seconds: every stage, loss and network, on fake images."""
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
            stage["optim"] |= {"clip_norm": 1.0}  # rounding makes channels constant, and their gradients 1e11
        stage["optim"] |= {"lr": 1e-5, "warmup_epochs": 0, "accumulate": 1, "amp": "off"}
    teachers = {name: teacher for name, teacher in {"teacher": tree["teacher"], **tree["teachers"]}.items() if teacher}
    for name, network in {"student": tree["student"], **teachers}.items():
        if name == "student" or not plan.all_teachers[name].is_foreign:
            network["bn_momentum"] = 0.7  # between fresh statistics (logits up to 1e12) and those of two tiny batches
        if name != "student":
            network["gate"] = 0
    delivery.shrink(tree["export"], tree["bench"], smoke.images)
    return build(tree, plan.name)


def plan_tree(plan: Plan) -> dict[str, Any]:
    """The plan as plain mappings, lists and scalars."""
    tree: dict[str, Any] = plain(plan)
    return tree


def dump(plan: Plan) -> str:
    """The full plan as YAML: base, overrides and every default filled in."""
    return parse.to_yaml(plan_tree(plan))
