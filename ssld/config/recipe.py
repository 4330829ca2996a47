"""Define the types of a recipe. `load(path, overrides)` returns the whole `Plan`; nothing here imports PaddlePaddle.

A recipe file may name one `base:` file. Mappings are merged, and everything else is replaced. The block `stage:` holds
what all stages share, and each entry of `stages:` what it changes. Overrides (`stages.distill.epochs=3`) change keys
and never create one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from ssld import yaml_text
from ssld.config import cards, check, code, delivery, parse, quantize
from ssld.config.delivery import Bench, Export
from ssld.config.keys import Tree, digested, key, plain
from ssld.config.mine_step import Mine
from ssld.config.optim import Optim
from ssld.config.quantize import Quantize
from ssld.config.run_folder import AGAIN, PLAN, RESULT, read_plan
from ssld.config.teachers import Combine, Teacher
from ssld.errors import RecipeError, RunError, shown
from ssld.files import damaged, json_digest
from ssld.losses import Term
from ssld.losses.recorded import leave_out_former_defaults, with_recorded
from ssld.losses.registry import with_own
from ssld.losses.terms import student_reads, teacher_reads
from ssld.losses.views import by_view
from ssld.spec.augmentations import Policy
from ssld.spec.choices import Interpolation
from ssld.spec.colours import WHITE, Colour
from ssld.spec.formats import Precision
from ssld.spec.ranges import (
    Batch,
    Classes,
    Count,
    Decay,
    Deviations,
    Epochs,
    Means,
    Part,
    Percent,
    Pixels,
    Prose,
    Range,
    Rising,
    Seed,
    Several,
    Share,
    Text,
    Threads,
)

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
STARTS = ("scratch", "pretrained")  # what a stage may start from besides an earlier one
Ratio = Annotated[float, Range(least=0.01, most=100)]
Terms = Annotated[dict[str, Term], parse.LossTerms]
Areas = Annotated[tuple[Part, Part], Rising()]
Ratios = Annotated[tuple[Ratio, Ratio], Rising()]
Alpha = Annotated[float, Range(least=0, most=100)]


class Strict:
    """Make an unknown key an error."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Augment(Strict):
    """Say how a training image is changed at random. The defaults are the published crop and flip."""

    area: Areas = (0.08, 1.0)  # share of the image that a random crop keeps
    ratio: Ratios = (3 / 4, 4 / 3)  # aspect ratio of that crop
    flip: Share = 0.5  # probability of a horizontal flip
    auto: Policy = "none"
    ra_ops: Annotated[int, Range(least=1, most=16)] = 2  # operations of a RandAugment draw
    ra_magnitude: Annotated[int, Range(least=0, most=10)] = 9  # strength of these operations
    erase: Share = 0.0  # probability of random erasing
    mixup: Alpha = 0.0  # alpha of the Beta distribution; 0 is off
    cutmix: Alpha = 0.0
    # Black pixels on every side after crop and resize, before a square of the former size is cut out at random.
    pad: Annotated[int, Range(least=0, most=1024)] = key(0, later=True)


View = Annotated[Augment | Literal["rotations"], parse.ViewKinds]


@dataclass(frozen=True, kw_only=True)
class Data(Strict):
    """Describe the images of a stage. Paths are list files (`path label` lines), relative to the data folder."""

    train: Annotated[tuple[Text, ...], Several()]
    val: Text
    # Of the last stage: the images that the student is shown once, after the training, and that no choice sees.
    test: Text | None = key(None, later=True)
    size: Pixels = 224  # pixels of the training crop
    eval_size: Pixels | None = None  # pixels of the centre crop of the evaluation; by default size
    eval_resize: Pixels | None = None  # pixels of the short side before that crop; by default eval_size * 256 / 224
    batch: Batch = 256  # images of a step over all ranks
    eval_batch: Batch = key(256, trains=False)
    interpolation: Interpolation = "linear"
    mean: Means = IMAGENET_MEAN
    std: Deviations = IMAGENET_STD
    # This colour is behind transparent pixels in training, evaluation and export.
    background: Colour = key(WHITE, later=True)
    threads: Threads = key(2, trains=False)  # threads of the input pipeline of a rank
    augment: Augment = field(default_factory=Augment)
    # Further views of each image, by name: how they are augmented, or the first view in four rotations.
    views: dict[str, View] = key(factory=dict, later=True)

    @property
    def further(self) -> dict[str, Augment]:
        """Map the names of the further views that have an augmentation of their own to that."""
        return {name: view for name, view in self.views.items() if isinstance(view, Augment)}

    @property
    def turned(self) -> str | None:
        """Return the name of the view of rotations, or None without one."""
        return next((name for name, view in self.views.items() if view == "rotations"), None)

    def rows(self, view: str) -> int:
        """Return how many rows of outputs each image has in a view; FIRST_VIEW is the name of the first one."""
        return 4 if view and view == self.turned else 1

    @property
    def crop(self) -> int:
        """Return the pixels of the centre crop of the evaluation."""
        return self.eval_size or self.size

    @property
    def resize(self) -> int:
        """Return the pixels of the short side before that crop."""
        return self.eval_resize or round(self.crop * 256 / 224)

    @property
    def evaluated(self) -> cards.Input:
        """Return how an evaluation shows images to a network that is trained on these."""
        return cards.Input(
            size=self.crop,
            resize=self.resize,
            mean=self.mean,
            std=self.std,
            interpolation=self.interpolation,
            background=self.background,
        )


@dataclass(frozen=True, kw_only=True)
class Labels(Strict):
    """Describe a cache of the teacher's logits.

    It has every image in `views` random views, which the epochs show in turn. A cache is made when a run first needs
    it. Students, seeds and recipes with the same teacher, images and views share it.
    """

    views: Annotated[int, Range(least=1, most=10_000)] = 4
    # Number of the largest logits of a view that are kept. With null, or with as many classes or fewer, all are kept.
    k: Count | None = 10
    seed: Seed = 0  # seed of the views
    # With null it is a folder of $SSLD_LABELS, or else of `labels`, that is named by what the labels depend on.
    folder: Text | None = key(None, trains=False)

    def kept(self, classes: int) -> int:
        """Return how many logits of `classes` are kept."""
        return classes if self.k is None else min(self.k, classes)


@dataclass(frozen=True, kw_only=True)
class Head(Strict):
    """Say in what a network of the zoo ends instead of its own classifier; see models/heads.py."""

    kind: Literal["distillation", "teacher"]
    # Of `teacher`: the name of the teacher whose end it has; null is the only one.
    teacher: Text | None = None
    # Of `teacher`: how many times fewer channels its projector has inside than the teacher's last map.
    factor: Count = 2


@dataclass(frozen=True, kw_only=True)
class Network(Strict):
    """Describe a network that is trained: an architecture of the zoo, or with `code` a network of one's own."""

    arch: Text | None = None
    bn_momentum: Decay | None = None  # share of the running statistics that is kept; null is that of the architecture
    # The stage with `init: pretrained`, or a peer, starts from this weights file, or from the published training of
    # this name.
    pretrained: Text | None = key(None, later=True)
    code: Text | None = key(None, later=True)  # a network of one's own instead of `arch`, such as nets.py:Tiny
    options: dict[str, object] = key(factory=dict, later=True)  # keyword arguments of the class of `code`
    taps: dict[str, Text] = key(factory=dict, later=True)  # maps a tap to the path of a layer of that network
    head: Head | None = key(None, later=True)  # with null it ends in its own classifier

    @property
    def title(self) -> str:
        """Return its name in messages and results."""
        return str(self.arch or self.code)

    @property
    def card_arch(self) -> str | None:
        """Return the architecture whose card has the costs of this network, or None where no card has them."""
        return None if self.head else self.arch


@dataclass(frozen=True, kw_only=True)
class Stage(Strict):
    """Describe one training of a network with one loss."""

    network: Text = "student"  # network that it trains: the student, or a teacher by its name
    init: Text = "scratch"  # one of STARTS, or the earlier stage whose result it continues
    # Parameters that are updated, see distill/state.py; with `helpers` those of the layers that losses own.
    train: Literal["all", "head", "head_and_norms", "helpers"] = "all"
    epochs: Epochs
    data: Data
    loss: Terms  # terms by name; see losses/terms.py
    optim: Optim
    eval_every: Count = key(1, trains=False)  # epochs between evaluations; the last step is always evaluated
    checkpoint_minutes: Annotated[float, Range(least=0, most=10_000)] = key(10.0, trains=False)
    # With null the teacher runs beside the student and labels fresh views.
    labels: Labels | None = key(None, later=True)
    quantize: Quantize | None = key(None, later=True)  # with null the stage trains in float
    teacher: Text | None = key(None, later=True)  # name of the teacher in `teachers`; null is the only teacher
    teachers: tuple[Text, ...] = key((), later=True)  # names of several teachers in `teachers`
    combine: Combine = key(factory=Combine, later=True)  # how several teachers are combined
    # Networks by name that are trained beside `network`, with the same losses; they read each other's outputs.
    peers: dict[str, Network] = key(factory=dict, later=True)
    # Layers of losses, such as `ft.paraphraser`, begin as what an earlier stage made of one of its own: `stage.term`.
    helpers: dict[str, Text] = key(factory=dict, later=True)
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
    def student_rows(self) -> int:
        """Return how many rows of images pass through the trained network for one image of a batch."""
        return sum(map(self.data.rows, by_view(self.student_reads, self.data.views)))

    @property
    def teacher_rows(self) -> int:
        """Return how many rows of images pass through a teacher for one image of a batch; 0 without a teacher."""
        return sum(map(self.data.rows, by_view(self.teacher_reads, self.data.views)))

    @property
    def takes_from(self) -> set[str]:
        """Return the names of the earlier stages whose layers of losses it begins with, where these names are known."""
        return {source.partition(".")[0] for source in self.helpers.values()}

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
class Smoke(Strict):
    """Hold what `--smoke` replaces: sizes that run in seconds on fake images."""

    steps: Count = 2
    batch: Batch = 4
    size: Pixels = 32
    images: Count = 16


@dataclass(frozen=True, kw_only=True)
class Plan(Strict):
    """Hold a whole recipe with every default filled in. `digest` names its run, its folder and its result."""

    name: Text = key(trains=False)
    title: Prose = key("", trains=False)
    claim: Percent | None = key(None, trains=False)  # published top-1 in percent that the recipe should reach
    seed: Seed = key(0, trains=False)
    code: dict[str, Text] = key(factory=dict, later=True)  # maps own Python files, relative to the recipe, to sha256
    classes: Classes
    dataset: Text | tuple[Text, ...] | None = None  # kinds of `ssld data prepare` that are made on demand
    # The keys are folders under the data folder; the values say how their `mined.txt` is made.
    prepare: dict[str, Mine] | None = key(None, later=True)
    student: Network
    teacher: Teacher | None = None  # the short form of one teacher, whose name is `teacher`
    teachers: dict[str, Teacher] = key(factory=dict, later=True)  # teachers by name; stages say which of them they ask
    # The gain is measured against the result of this stage; null is the student card's plain top-1.
    baseline: Text | None = None
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

    @property
    def test(self) -> str | None:
        """Return the images that the student is tested on once, after the last stage; None without such images."""
        return self.stages[self.last].data.test

    @property
    def timed_precisions(self) -> tuple[Precision, ...]:
        """Return the precisions in which the student is timed: those of `bench`, and int8 of a student in int8."""
        first: tuple[Precision, ...] = ("int8",) if self.stages[self.last].quantize else ()
        return tuple(dict.fromkeys([*first, *self.bench.precisions]))

    @cached_property
    def all_teachers(self) -> dict[str, Teacher]:
        """Map names to teachers. The name of the short form is `teacher`."""
        return {**({"teacher": self.teacher} if self.teacher else {}), **self.teachers}

    def key_of(self, teacher: str) -> str:
        """Return the key path of the block of a teacher."""
        return "teacher" if self.teacher and teacher == "teacher" else f"teachers.{teacher}"

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
        stage = self.stages[name]
        block = self.network_of(stage.network)
        network: list[object] = [block.arch, block.bn_momentum]
        if block.code:
            network += [block.code, block.options, block.taps]
        if head := getattr(block, "head", None):
            network.append(self._digest_of_head(head))
        parts: Tree = {"seed": self.seed, "classes": self.classes, "scope": self.scope}
        untested = replace(stage, data=replace(stage.data, test=None))  # the test comes after the training
        parts |= {"name": name, "stage": digested(untested), "network": network}
        if code_of_stage := self.code_of(name):
            parts["code"] = code_of_stage
        if stage.continues:
            parts["init"] = self.stage_digest(stage.continues)
        if stage.init == "pretrained":
            parts["init"] = {"pretrained": self.student.pretrained}
        if stage.helpers:
            parts["helpers"] = {of: self.stage_digest(of) for of in sorted(stage.takes_from)}
        teachers = self.teachers_of(name)
        if list(teachers) == ["teacher"] and self.teacher:
            parts["teacher"] = digested(self.teacher)
            if self.teacher.stage:
                parts["teacher_stage"] = self.stage_digest(self.teacher.stage)
        elif teachers:
            parts["teachers"] = [[teacher_name, digested(teacher)] for teacher_name, teacher in teachers.items()]
            parts["teacher_stages"] = [
                self.stage_digest(teacher.stage) for teacher in teachers.values() if teacher.stage
            ]
        return json_digest(parts)

    def handed_on(self, name: str) -> set[str]:
        """Return the terms of a stage whose layers a later stage begins with."""
        sources = [source for stage in self.stages.values() for source in stage.helpers.values()]
        return {path.split(".")[1] for path in sources if path.split(".")[0] == name}

    def head_teacher(self, head: Head) -> str:
        """Return the name of the teacher whose end a head has: the one that it names, or else the only one there is.

        Returns an empty name where there is none, or there are several (a check refuses that).
        """
        names = [*self.all_teachers]
        return head.teacher or ("teacher" if self.teacher else names[0] if len(names) == 1 else "")

    def _digest_of_head(self, head: Head) -> object:
        """Return what enters the digest of a stage for the end of its network: also the teacher that it is of."""
        if head.kind != "teacher":
            return digested(head)
        teacher = self.all_teachers[self.head_teacher(head)]
        stage = self.stage_digest(teacher.stage) if teacher.stage else None
        return [digested(head), digested(teacher), stage]

    def code_of(self, name: str) -> dict[str, str]:
        """Map the own files that a stage uses to their sha256: those of its losses, network, images and teachers.

        What a teacher's own stage uses is part of the digest of that stage.
        """
        stage = self.stages[name]
        files = {code.file_of(type(term.loss), self.code) for term in stage.loss.values()}
        networks = [self.network_of(stage.network), *stage.peers.values(), *self.teachers_of(name).values()]
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
    tree: Tree,
    where: str,
    folder: Path,
    overrides: list[str] | tuple[str, ...] = (),
    *,
    smoke: bool = False,
) -> Plan:
    """Return the plan of a recipe that consists of mappings and scalars.

    `where` begins its error messages; its own code is relative to `folder`.
    """
    tree = parse.spread(tree, where, shared="stage", over="stages")
    plan = _with_code(tree, where, folder)
    if overrides:
        full = plan_tree(plan)

        def keys_at(path: list[str]) -> list[str]:
            return parse.keys_at(Plan, full, path, with_own(code.modules(_load_code(tree, where, folder))))

        for text in overrides:
            parse.override(tree, full, text, keys_at)
        plan = _with_code(tree, where, folder)
    check.check_plan(plan, where)
    return shrink(plan) if smoke else plan


def build(tree: Tree, where: str) -> Plan:
    """Make a plan from its whole tree, whose own code is loaded."""
    return parse.build(Plan, tree, where, losses=with_own(code.modules(_digests(tree, where))))


def of_record(tree: Tree, where: str) -> Plan:
    """Make a plan from the whole tree that a result holds.

    Its own code need not be at hand, so that the plan can be read and not run.
    """
    return parse.build(Plan, tree, where, losses=with_recorded(_blocks_of_losses(tree)))


def of_run(folder: Path) -> Plan:
    """Return the plan that a run folder keeps, as `dump` wrote it. Raises RunError where it is damaged."""
    file, digest = folder / PLAN, read_plan(folder)[0]
    try:
        tree = yaml_text.read_mapping(file, "the plan of a run")
        digests = _digests(tree, str(file))
    except RecipeError as error:
        raise damaged(file, str(error).removeprefix(f"{file}: "), AGAIN) from None
    code.reload(digests, folder)
    plan = build(tree, str(file))
    if plan.digest != digest:
        leave_out_former_defaults(_blocks_of_losses(tree))
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


def _with_code(tree: Tree, where: str, folder: Path) -> Plan:
    """Load the own code that a tree names, and make its plan."""
    return build({**tree, "code": _load_code(tree, where, folder)}, where)


def _load_code(tree: Tree, where: str, folder: Path) -> dict[str, str]:
    """Load the recipe's own Python files, and map each to its sha256.

    They are those of the list `code`, and those that networks and images name.
    """
    files = [] if tree.get("code") is None else tree["code"]
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise RecipeError(f"{where}: code: {shown(files)} is not a list of Python files; write [losses.py, nets.py]")
    try:
        return code.load(dict.fromkeys([*files, *_named_files(tree)]), folder)
    except RecipeError as error:
        raise RecipeError(f"{where}: code: {error}") from error


def _digests(tree: Tree, where: str) -> dict[str, str]:
    """Return the sha256 of each own file of a whole tree. Raises RecipeError where `code` holds something else."""
    digests = tree.get("code") or {}
    if not isinstance(digests, dict):
        raise RecipeError(f"{where}: code: {digests!r} is not a mapping of files to their sha256; restore the file")
    return {str(file): str(digest) for file, digest in digests.items()}


def _named_files(tree: Tree) -> list[str]:
    """Return the Python files that networks and images of one's own name, in a tree that is not checked yet."""
    values = [_get(block, "code") for block in (tree.get("student"), tree.get("teacher"), *_values(tree, "teachers"))]
    for stage in _values(tree, "stages"):
        data, peers = _get(stage, "data"), _get(stage, "peers")
        values += [_get(peer, "code") for peer in peers.values()] if isinstance(peers, dict) else []
        train = _get(data, "train")
        values += [*(train if isinstance(train, list) else [train]), _get(data, "val"), _get(data, "test")]
    return [code.split(text)[0] for text in values if isinstance(text, str) and code.is_code(text)]


def _blocks_of_losses(tree: Tree) -> list[object]:
    """Return the block `loss` of each stage of a tree that is not checked."""
    return [_get(stage, "loss") for stage in _values(tree, "stages")]


def _get(block: object, key: str) -> object:
    """Return the value of a key of a block that is not checked yet, or None where it is no mapping or lacks the key."""
    return block.get(key) if isinstance(block, dict) else None


def _values(tree: Tree, key: str) -> list[object]:
    block = tree.get(key)
    return list(block.values()) if isinstance(block, dict) else []


MOMENTUM = 0.7  # of a smoke run: a mean of fresh statistics (logits up to 1e12) and those of two batches


def shrink(plan: Plan) -> Plan:
    """Return the same recipe at a size that runs in seconds: every stage, loss and network, on fake images."""
    images = plan.smoke.images
    return replace(
        plan,
        scope="smoke",
        dataset=None,
        prepare=None,
        claim=None,
        stages={name: _shrink_stage(stage, plan.smoke) for name, stage in plan.stages.items()},
        student=replace(plan.student, bn_momentum=MOMENTUM),
        teacher=plan.teacher and _shrink_teacher(plan.teacher),
        teachers={name: _shrink_teacher(teacher) for name, teacher in plan.teachers.items()},
        export=delivery.shrink_export(plan.export, images),
        bench=delivery.shrink_bench(plan.bench),
    )


def _shrink_stage(stage: Stage, smoke: Smoke) -> Stage:
    lists = ("fake/train_labelled.txt", *(() if stage.needs_labels else ("fake/train_unlabelled.txt",)))
    size, batch = smoke.size, smoke.batch
    data = replace(stage.data, train=lists, val="fake/val.txt", size=size, batch=batch, threads=1)
    data = replace(data, eval_size=size, eval_resize=size, eval_batch=batch)
    data = replace(data, test=data.test and "fake/test.txt")
    optim = replace(stage.optim, lr=1e-5, warmup_epochs=0.0, accumulate=1, amp="off")
    if stage.quantize:
        optim = replace(optim, clip_norm=1.0)  # rounding makes channels constant, so that their gradients reach 1e11
    return replace(
        stage,
        epochs=smoke.steps * batch / (smoke.images * len(lists)) if stage.epochs else stage.epochs,
        data=data,
        optim=optim,
        labels=stage.labels and replace(stage.labels, folder=None),
        quantize=stage.quantize and quantize.shrink(stage.quantize, smoke.images),
        peers={name: replace(peer, bn_momentum=MOMENTUM) for name, peer in stage.peers.items()},
    )


def _shrink_teacher(teacher: Teacher) -> Teacher:
    return replace(teacher, gate=0, bn_momentum=teacher.bn_momentum if teacher.is_foreign else MOMENTUM)


def plan_tree(plan: Plan) -> Tree:
    """Return the plan as plain mappings, lists and scalars."""
    return plain(plan)


def dump(plan: Plan) -> str:
    """Return the full plan as YAML, with base, overrides and every default filled in."""
    return yaml_text.dump(plan_tree(plan))
